"""The pretend GPU refuses what CUDA refuses, and gives the CPU's numbers for the rest."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretend_gpu import pretend_gpu
from torch import nn


@pytest.fixture
def gpu():
    with pretend_gpu() as mode:
        yield mode


CUDA = torch.device("cuda", 0)


def there(*shape):
    return torch.randn(*shape, device="cuda")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: there(3) + torch.randn(3),
        lambda: torch.linspace(-1, 1, 3) * there(3),
        lambda: torch.randn(3, 3) @ there(3, 3),
        lambda: torch.cat([there(3), torch.randn(3)]),
        lambda: F.linear(there(2, 3), torch.randn(4, 3)),
        lambda: F.cross_entropy(there(2, 3), torch.tensor([0, 1])),
        lambda: F.embedding(torch.tensor([0]), there(3, 2)),
        lambda: there(3).index_select(0, torch.tensor([0])),
        lambda: there(3, 3).gather(1, torch.zeros(3, 1, dtype=torch.long)),
        lambda: torch.randn(3)[torch.tensor([0], device="cuda")],
        lambda: torch.zeros(3).add_(there(3)),
        lambda: there(3).__setitem__(torch.tensor([0, 1]), torch.randn(2)),
        lambda: nn.Linear(3, 2)(there(4, 3)),
        lambda: nn.Linear(3, 2).to("cuda")(torch.randn(4, 3)),
        lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
        lambda: torch.randn(3, generator=torch.Generator("cuda")),
        lambda: there(3).bernoulli_(0.5, generator=torch.Generator()),
        lambda: torch.sparse.mm(torch.eye(3).to_sparse_csr(), there(3, 2)),
        lambda: torch.eye(3, device="cuda").to_sparse_csr() @ torch.randn(3, 2),
        lambda: torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), there(1), (1, 1)),
        lambda: torch.where(there(3) > 0, torch.randn(3), 0.0),
    ],
)
def test_two_devices_are_refused(gpu, wrong):
    with pytest.raises(RuntimeError, match="device"):
        wrong()


@pytest.mark.parametrize("wrong", [lambda t: t.numpy(), np.asarray, lambda t: t.detach().numpy()])
def test_no_tensor_of_the_device_becomes_an_array(gpu, wrong):
    with pytest.raises(TypeError, match="Tensor.cpu"):
        wrong(there(3))
    assert wrong(there(3).cpu()).shape == (3,)


@pytest.mark.parametrize(
    "right",
    [
        lambda: there(3) * torch.tensor(2.0),
        lambda: there(3) + 1,
        lambda: there(5)[torch.tensor([0, 2])],
        lambda: there(5)[torch.tensor([0, 2], device="cuda")],
        lambda: torch.zeros_like(there(3)),
        lambda: there(3).new_ones(2),
        lambda: torch.randn(3).to("cuda"),
        lambda: torch.randn(3).cuda(),
        lambda: torch.randn(3).to(there(2)),
        lambda: there(2, 3).T.contiguous()[0],
        lambda: nn.Parameter(there(3)).detach(),
        lambda: torch.randn(3, device="cuda", generator=torch.Generator("cuda").manual_seed(1)),
        lambda: torch.eye(3).to_sparse_csr().to("cuda") @ there(3, 2),
        lambda: torch.eye(3, device="cuda").to_sparse_csr().values(),
        lambda: torch.eye(3, device="cuda").to_sparse().coalesce().indices(),
        lambda: copy.deepcopy(nn.Linear(3, 2).to("cuda")).weight,
        lambda: torch.arange(3, device="cuda").sort().indices,
        lambda: torch.tensor([1.0, 2.0], device=CUDA).softmax(0),
    ],
)
def test_what_stays_on_the_device_is_there(gpu, right):
    found = right()
    assert found.device == CUDA and found.is_cuda


def test_what_is_brought_back_is_here(gpu):
    assert there(3).cpu().device.type == there(3).to("cpu").device.type == "cpu"
    assert torch.zeros_like(there(3), device="cpu").device.type == "cpu"
    assert torch.randn(3).device.type == "cpu" and not torch.randn(3).is_cuda
    assert there(1).item() < 99 and there(2).tolist() and bool(torch.ones(1, device="cuda"))
    layer = nn.Linear(3, 2).to("cuda")
    assert layer.cpu().weight.device.type == "cpu"
    other = nn.Linear(3, 2)
    other.load_state_dict(nn.Linear(3, 2).to("cuda").state_dict())  # copies across, as CUDA does
    assert other.weight.device.type == "cpu"


def fit(device):
    """An LSTM that learns something for a few steps: its losses."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(6, 4, 3).to(device), torch.randint(2, (6,)).to(device)
    network, last = nn.LSTM(3, 5, batch_first=True).to(device), nn.Linear(5, 2).to(device)
    optimiser = torch.optim.Adam([*network.parameters(), *last.parameters()], lr=0.05)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = F.cross_entropy(last(network(inputs)[0][:, -1]), targets)
        loss.backward()
        assert last.weight.grad.device == last.weight.device
        optimiser.step()
        losses.append(loss.item())
    return losses


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states):
        return 2 * states

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def spread(device):
    """A sparse product, a function with its own gradient and an optimiser: the states after a few steps."""
    torch.manual_seed(0)
    matrix = torch.eye(4).to_sparse_csr().to(device)
    weight = torch.randn(4, 2).to(device).requires_grad_()
    optimiser = torch.optim.SGD([weight], lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (gradient,) = torch.autograd.grad(Twice.apply(matrix @ weight).pow(2).sum(), [weight])
        weight.grad = gradient
        optimiser.step()
    return weight.detach().cpu().tolist()


@pytest.mark.parametrize("work", [fit, spread])
def test_training_gives_the_numbers_of_the_cpu(work):
    here = work("cpu")
    with pretend_gpu() as mode:
        assert work("cuda") == pytest.approx(here, abs=1e-6) if work is fit else work("cuda") == here
        assert mode.moved > 10


def test_without_the_mode_there_is_no_device():
    assert not hasattr(torch.Generator(), "pretended")
    with pretend_gpu():
        assert torch.cuda.is_available()
    with pytest.raises((AssertionError, RuntimeError)):
        torch.zeros(1, device="cuda")


def sparse():
    rows, columns = torch.tensor([0, 1, 2], device="cuda"), torch.tensor([1, 0], device="cuda")
    return torch.sparse_csr_tensor(rows, columns, torch.ones(2, device="cuda"), (2, 2))


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True, **options)


class Buffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.eye(2).to_sparse_csr())
        self.register_buffer("pairs", torch.eye(2).to_sparse())


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(
    "right",
    [
        lambda: sparse().crow_indices(),
        lambda: torch.sparse_csr_tensor([0, 1, 2], [0, 1], there(2), (2, 2)).col_indices(),
        lambda: torch.sparse_coo_tensor([[0], [1]], [1.0], (2, 2), device="cuda").coalesce().indices(),
        lambda: torch.addmm(there(2, 3), sparse(), there(2, 3), beta=0),
        lambda: torch.sparse.sampled_addmm(sparse(), there(2, 3), there(3, 2), beta=0).values(),
        lambda: Buffers().to("cuda").rows.values(),
        lambda: copy.deepcopy(nn.ModuleList([nn.Embedding(3, 2).cuda()]))[0].weight,
        lambda: saved(there(3)),
        lambda: saved(torch.randn(3), map_location="cuda"),
        lambda: saved(sparse())._nnz() and saved(sparse()).values(),
        lambda: pickle.loads(pickle.dumps(nn.Linear(3, 2).cuda())).weight,
        lambda: F.scaled_dot_product_attention(there(1, 2, 3), there(1, 2, 3), there(1, 2, 3)),
        lambda: F.embedding_bag(torch.tensor([0, 1], device="cuda"), there(3, 2), torch.tensor([0], device="cuda")),
        lambda: torch.segment_reduce(there(3), "max", offsets=torch.tensor([0, 3], device="cuda"), unsafe=True),
        lambda: there(5)[there(5).cpu() > 0],
        lambda: torch.multinomial(there(3).abs(), 1, generator=torch.Generator("cuda")),
        lambda: torch.as_tensor(np.ones(2), device="cuda"),
    ],
)
def test_sparse_files_and_single_kernels_keep_the_device(gpu, right):
    assert right().device == CUDA


def test_sparse_buffers_come_back_whole(gpu):
    back = Buffers().to("cuda").cpu()
    parts = back.rows.crow_indices(), back.rows.values(), back.pairs.coalesce().indices()
    assert {part.device.type for part in parts} == {"cpu"}
    assert saved(there(3), map_location="cpu").device.type == "cpu"


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_batch_sizes_stay_on_the_processor(gpu, kind):
    layer, lengths = kind(3, 4).cuda(), torch.tensor([2, 5])
    packed = nn.utils.rnn.pack_padded_sequence(there(5, 2, 3), lengths, enforce_sorted=False)
    states, found = nn.utils.rnn.pad_packed_sequence(layer(packed)[0])
    assert states.is_cuda and not found.is_cuda and not packed.batch_sizes.is_cuda
    with pytest.raises(RuntimeError, match="lengths"):
        nn.utils.rnn.pack_padded_sequence(there(5, 2, 3), lengths.to("cuda"), enforce_sorted=True)


class Weighted(torch.autograd.Function):
    """Its gradient is multiplied by weights that may be elsewhere."""

    @staticmethod
    def forward(ctx, states, weights):
        ctx.weights = weights
        ctx.save_for_backward(states * 1)
        return states * states

    @staticmethod
    def backward(ctx, gradient):
        (states,) = ctx.saved_tensors
        assert gradient.device == states.device
        return 2 * states * gradient * ctx.weights, None


def test_the_body_of_a_backward_pass_is_watched(gpu):
    states, seen = there(3).requires_grad_(), []
    states.register_hook(lambda gradient: seen.append(gradient.device))
    Weighted.apply(states, there(3)).sum().backward()
    assert states.grad.device == CUDA and seen == [CUDA]
    with pytest.raises(RuntimeError, match="two devices"):
        Weighted.apply(states, torch.ones(3)).sum().backward()
    with pytest.raises(RuntimeError, match="different device"):
        states.grad = torch.ones(3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: torch.ones(3) * there(3).sum(),
        lambda: torch.tensor(1.0).add_(there(3).sum()),
        lambda: torch.stack([there(3).sum(), torch.tensor(1.0)]),
        lambda: torch.mul(there(3), 2, out=torch.ones(3)),
        lambda: torch.randperm(3, generator=torch.Generator("cuda")),
        lambda: nn.init.orthogonal_(there(3, 3), generator=torch.Generator()),
        lambda: torch.ones(2, device="cuda:1"),
        lambda: torch.arange(4, device="cuda").view(2, 2) @ torch.arange(4, device="cuda").view(2, 2),
    ],
)
def test_the_finer_rules_refuse(gpu, wrong):
    with pytest.raises(RuntimeError, match="device|implemented"):
        wrong()


def test_copies_cross(gpu):
    states = there(4)
    states[1:3], states[torch.tensor([0])] = torch.ones(2), torch.tensor(2.0)
    here = torch.zeros(4).copy_(states)
    assert here.device.type == "cpu" and here[:3].tolist() == [2, 1, 1]
    array = np.ones(2)
    moved = torch.as_tensor(array, device="cuda")
    array[0] = 5
    assert moved.tolist() == [1, 1]  # nothing is shared with the memory of the host


def test_a_default_device_holds_where_it_should(gpu):
    with torch.device("cuda"):
        assert nn.Linear(3, 2).weight.is_cuda and torch.arange(3).is_cuda
    torch.set_default_device("cuda")
    try:
        assert F.dropout(torch.ones(3)).is_cuda
    finally:
        torch.set_default_device(None)
    assert not torch.ones(3).is_cuda


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": True}])
def test_optimisers_and_their_states(gpu, options):
    layer = nn.Linear(3, 2).cuda()
    for optimiser in (torch.optim.Adam(layer.parameters(), **options) for _ in range(2)):
        layer(there(4, 3)).sum().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimiser.step()
        other = torch.optim.Adam(layer.parameters(), **options)
        other.load_state_dict(optimiser.state_dict())
        assert other.state[layer.weight]["exp_avg"].device == CUDA
