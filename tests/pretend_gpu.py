"""A pretend GPU: code that asks for device "cuda" runs on a machine without one, and mixed devices are refused.

    with pretend_gpu():
        torch.ones(3, device="cuda") * torch.ones(3)  # RuntimeError: Expected all tensors to be on the same device ...

Everything is computed on the CPU, with the CPU's generators, so results are those of the CPU. Whether a tensor is "on
cuda" is a mark on its storage: views, `.data`, `.detach()` and tensors that autograd has saved share the storage and
with it the mark; a sparse tensor bears it on its indices and values. A TorchFunctionMode sees every call of torch's
Python interface: it takes the device out of the arguments, compares the devices of the tensors, makes the call and
marks what came out. Outside the block the marks mean nothing.

Refused, with CUDA's words:
 - tensors of both devices in one call. A CPU tensor without dimensions may meet tensors on cuda, except in calls
   that are not elementwise (STRICT) and as the target of a change in place; a CPU index may index a tensor on cuda
   with `x[index]`, the reverse is refused; copies (`copy_`, `x[2:4] = y`, load_state_dict), `.to`, `view_as` and the
   like may cross;
 - a generator of one device for numbers of the other;
 - numpy() and np.asarray of a tensor on cuda, and thereby scipy, scikit-learn and matplotlib;
 - lengths on cuda in pack_padded_sequence; batch sizes and the lengths it gives back stay on the CPU;
 - products of whole numbers, which CUDA does not have;
 - a gradient assigned to a tensor on the other device.

Gradients are on the device of their tensors: `.grad`, autograd.grad, register_hook and the arguments of a
torch.autograd.Function's backward, whose body is checked like any other code.

Not seen: what CUDA lacks or does differently (operations without a kernel, dtypes, tensor cores, memory, other random
numbers); the inside of functions that are one call here (F.*, nn.init.*, torch.lstm); other threads and processes;
torch.func transforms, torch.compile, dlpack, nested and quantised tensors, torch.Tensor([...]) under a default device,
torch.accelerator; streams, events and further devices than cuda:0. torch.autocast("cuda") becomes autocast on the CPU.
"""

from __future__ import annotations

import contextlib
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # optimisers import it, and its tables must not meet what is patched here
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._device import DeviceContext, _device_constructors

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SPARSE_PARTS = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}
FACTORIES = {made.__name__ for made in _device_constructors()}
INDEXING = {"__getitem__", "__setitem__", "index_put", "index_put_"}
MESSAGE = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"


def _words(text: str) -> set[str]:
    return set(text.split())


INTEGER_PRODUCTS = _words("mm bmm mv dot matmul __matmul__ __rmatmul__ addmm addmv addbmm baddbmm linear einsum")
# Calls in which a CPU tensor without dimensions counts like any other.
STRICT = INTEGER_PRODUCTS | _words(
    """
    cat concat concatenate stack hstack vstack dstack column_stack index_select gather scatter scatter_ scatter_add
    scatter_add_ scatter_reduce scatter_reduce_ index_add index_add_ index_copy index_copy_ index_fill index_fill_
    take take_along_dim embedding embedding_bag bilinear outer cdist conv1d conv2d conv3d layer_norm batch_norm
    scaled_dot_product_attention multi_head_attention_forward cross_entropy nll_loss segment_reduce lstm gru rnn_tanh
    rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell sampled_addmm repeat_interleave
    """
)
# Calls that may look at, or copy between, tensors of both devices.
FREE = _words(
    """
    copy_ view_as expand_as reshape_as broadcast_tensors result_type is_same_size is_set_to set_ backward
    _has_compatible_shallow_copy_type assert_close __deepcopy__ __reduce_ex__ __repr__ __format__ clip_grad_norm_
    """
)


def device_of(tensor: torch.Tensor) -> torch.device:
    """cpu or cuda:0, by the mark on the tensor's storage."""
    with torch._C.DisableTorchFunction():
        marked = any(getattr(part.untyped_storage(), "pretend_cuda", False) for part in _parts(tensor))
    return CUDA if marked else CPU


def mark(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Put a tensor, with all that shares its memory, on a device."""
    with torch._C.DisableTorchFunction():
        for part in _parts(tensor):
            part.untyped_storage().pretend_cuda = device == CUDA
    return tensor


def _parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The dense tensors that hold the memory of a tensor."""
    if tensor.layout is torch.strided:
        return [tensor]
    return [getattr(tensor.detach(), part)() for part in SPARSE_PARTS[tensor.layout]]


def _storages(tensors: list[torch.Tensor]) -> set[int]:
    return {part.untyped_storage()._cdata for tensor in tensors for part in _parts(tensor)}


def _tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [tensor for entry in value for tensor in _tensors(entry)]
    return []


def _device(value: Any) -> torch.device:
    """What a device argument means."""
    device = torch.device("cuda", value) if isinstance(value, int) else torch.device(value)
    if device.type == "cuda" and device.index in (None, 0):
        return CUDA
    if device.type == "cuda":
        raise RuntimeError("CUDA error: invalid device ordinal")
    return device


class Generator(torch.Generator):
    """A generator of the CPU that says it belongs to a device."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, "cpu")
        made.pretended = _device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.pretended


class PretendGPU(TorchFunctionMode):
    """The function mode. Its own calls of torch are not seen by it.

    moved counts the tensors that were made on the device or brought there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func.__name__
        if name in ("__get__", "__set__"):
            return self.attribute(func, name, args)
        special = getattr(self, f"call_{name.strip('_')}", None)
        if special and args and isinstance(args[0], torch.Tensor):
            return special(func, args, kwargs)
        if name == "grad" and "inputs" in kwargs or name == "grad" and len(args) > 1:
            return self.gradients(func, args, kwargs)
        return self.call(func, name, args, kwargs)

    def call(self, func: Callable[..., Any], name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Any function: compare the devices, make the call on the CPU, mark the results."""
        given = _tensors((args, kwargs))
        wanted = kwargs.get("device")
        makes = name in FACTORIES or name.startswith("new_") or name.endswith("_like")
        if makes:
            kwargs["device"] = "cpu"  # also what a default device would change
        if wanted is not None:
            device = _device(wanted)
        elif name in FACTORIES and not (given and _keeps_device(name, args)):
            device = _device(torch.utils._device.CURRENT_DEVICE or "cpu")
        elif name.startswith("new_") or name.endswith("_like"):
            device = device_of(args[0] if args else given[0])
        else:
            device = self.compared(name, args, kwargs, given)
        if device.type == "meta":
            return func(*args, **kwargs | {"device": device})
        self.compare_generator(args, kwargs, device)
        if device == CUDA and name in INTEGER_PRODUCTS:
            for tensor in given:
                if not (tensor.is_floating_point() or tensor.is_complex()):
                    kind = {torch.int64: "Long", torch.int32: "Int", torch.bool: "Bool"}.get(tensor.dtype, tensor.dtype)
                    raise RuntimeError(f"\"addmm_cuda\" not implemented for '{kind}' (in {name})")
        result = func(*args, **kwargs)
        if name in ("as_tensor", "asarray") or name in FACTORIES and given:
            return self.made_from(result, given, device)
        if device == CUDA:
            stays = _storages([tensor for tensor in given if device_of(tensor) == CPU])
            outputs = _tensors(result)
            if name in ("_pack_padded_sequence", "_pad_packed_sequence"):
                outputs = outputs[:1]  # batch sizes and lengths are on the CPU
            for output in outputs:
                if not (stays and _storages([output]) & stays):
                    self.put(output, CUDA)
        return result

    def put(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Mark a tensor and count it."""
        self.moved += device == CUDA
        return mark(tensor, device)

    def made_from(self, result: torch.Tensor, given: list[torch.Tensor], device: torch.device) -> torch.Tensor:
        """What torch.tensor, as_tensor or sparse_csr_tensor made, on the device; a copy where it shares memory."""
        if device_of(result) != device and (not given or _storages([result]) & _storages(given)):
            result = result.clone()
        return self.put(result, device)

    def compared(self, name: str, args: Any, kwargs: dict[str, Any], given: list[torch.Tensor]) -> torch.device:
        """The device that the tensors of a call share."""
        if name in INDEXING:
            return self.compare_index(name, args, kwargs)
        if name in FREE:
            return device_of(given[0]) if given else CPU
        if name == "_pack_padded_sequence":
            if device_of(args[1]) == CUDA:
                raise RuntimeError("'lengths' argument should be a 1D CPU int64 tensor, but got 1D cuda:0 Long tensor")
            return device_of(args[0])
        if name == "_pad_packed_sequence" or (
            name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
            and isinstance(args[1], torch.Tensor)
            and args[1].dtype == torch.int64
        ):
            if device_of(args[1]) == CUDA:
                raise RuntimeError("batch_sizes tensor should be on CPU, but got on GPU")
            given = _tensors((args[0], args[2:], kwargs))
        devices = [device_of(tensor) for tensor in given]
        if CUDA not in devices:
            return CPU
        changed = _tensors(kwargs.get("out"))
        if name.endswith("_") and (not name.endswith("__") or name.startswith("__i") and name != "__invert__"):
            changed += given[:1]
        for tensor, device in zip(given, devices, strict=True):
            alone = tensor.dim() == 0 and name not in STRICT and not any(tensor is one for one in changed)
            if device == CPU and not alone:
                raise RuntimeError(f"{MESSAGE} (pretend GPU, in {name})")
        return CUDA

    def compare_index(self, name: str, args: Any, kwargs: dict[str, Any]) -> torch.device:
        indexed, index, *value = [*args, *kwargs.values()]
        device, inside = device_of(indexed), _tensors(index)
        if device == CPU and any(device_of(tensor) == CUDA and tensor.dim() for tensor in inside):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        entries = index if isinstance(index, tuple) else (index,)
        basic = all(entry is None or entry is ... or isinstance(entry, (int, slice)) for entry in entries)
        for tensor in _tensors(value):
            if device_of(tensor) != device and tensor.dim() and not basic:
                raise RuntimeError(f"{MESSAGE} (pretend GPU, in {name})")
        return device

    def compare_generator(self, args: Any, kwargs: dict[str, Any], device: torch.device) -> None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch._C.Generator) and value.device.type != device.type:
                raise RuntimeError(
                    f"Expected a '{device.type}' device type for generator but found '{value.device.type}'"
                )

    def attribute(self, func: Callable[..., Any], name: str, args: Any) -> Any:
        """A property of a tensor is read or set."""
        which, tensor = getattr(func.__self__, "__name__", ""), args[0]
        if not isinstance(tensor, torch.Tensor):
            return func(*args)
        if name == "__set__":
            if which == "grad" and args[1] is not None and device_of(args[1]) != device_of(tensor):
                raise RuntimeError("assigned grad has data located on a different device")
            return func(*args)
        result = func(*args)
        if which == "device" and result.type == "cpu":
            return device_of(tensor)
        if which in ("is_cuda", "is_cpu"):
            return device_of(tensor).type == which[3:]
        if which == "grad" and result is not None:
            mark(result, device_of(tensor))
        return result

    def gradients(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """torch.autograd.grad: each gradient is on the device of its tensor."""
        result = func(*args, **kwargs)
        inputs = kwargs["inputs"] if "inputs" in kwargs else args[1]
        inputs = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        for tensor, gradient in zip(inputs, result, strict=True):
            if gradient is not None:
                mark(gradient, device_of(tensor))
        return result

    def call_to(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        tensor, *rest = args
        device, dtype, copy = kwargs.pop("device", None), kwargs.pop("dtype", None), kwargs.pop("copy", False)
        other = kwargs.pop("other", None)
        kwargs.pop("non_blocking", None)
        flags = [value for value in rest if isinstance(value, bool)]
        copy = flags[1] if len(flags) > 1 else copy
        for value in rest:
            if isinstance(value, torch.Tensor):
                other = value
            elif isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, (str, torch.device)) or isinstance(value, int) and not isinstance(value, bool):
                device = value
        if other is not None:
            device, dtype = device_of(other), other.dtype
        if device is not None and torch.device(device).type == "meta":
            return func(tensor, device, **kwargs)
        device = device_of(tensor) if device is None else _device(device)
        result = func(tensor, dtype or tensor.dtype, copy=copy, **kwargs)
        if device_of(tensor) == device:
            return mark(result, device)
        return self.put(result.clone() if _storages([result]) & _storages([tensor]) else result, device)

    def call_cpu(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        return self.call_to(torch.Tensor.to, (args[0], "cpu"), {})

    def call_cuda(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        return self.call_to(torch.Tensor.to, (args[0], "cuda"), {})

    def call_type_as(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        return self.call_to(torch.Tensor.to, args, kwargs)

    def call_pin_memory(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        if device_of(args[0]) == CUDA:
            raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
        return args[0].clone()

    def call_get_device(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> int:
        return 0 if device_of(args[0]) == CUDA else -1

    def call_numpy(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if device_of(args[0]) == CUDA and not kwargs.get("force"):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. "
                "Use Tensor.cpu() to copy the tensor to host memory first."
            )
        return func(*args, **kwargs)

    call_array = call_numpy  # __array__

    def call_register_hook(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        tensor, hook = args
        return func(tensor, self.watched(lambda gradient: hook(mark(gradient, device_of(tensor)))))

    def call_register_post_accumulate_grad_hook(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return func(args[0], self.watched(args[1]))

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with this mode on: autograd calls it from within a call that was seen already."""

        def under_mode(*args: Any, **kwargs: Any) -> Any:
            if self in _get_current_function_mode_stack():
                return function(*args, **kwargs)
            with self:
                return function(*args, **kwargs)

        return under_mode


def _keeps_device(name: str, args: Any) -> bool:
    """Whether a factory without a device takes that of its tensors: tensor(x), not tensor([x, y])."""
    copies = name in ("tensor", "as_tensor", "asarray")
    return name.startswith("sparse_") or (copies and bool(args) and isinstance(args[0], torch.Tensor))


def _patch_functions(mode: PretendGPU, patches: contextlib.ExitStack) -> None:
    """Backward passes of torch.autograd.Function: their gradients are marked, their bodies watched."""
    apply, backward = torch.autograd.Function.apply, BackwardCFunction.apply

    def marked_apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        result = apply.__func__(cls, *args, **kwargs)
        outputs = result if isinstance(result, tuple) else (result,)
        devices = [device_of(output) if isinstance(output, torch.Tensor) else None for output in outputs]
        for output in outputs:
            node = output.grad_fn if isinstance(output, torch.Tensor) else None
            if isinstance(node, BackwardCFunction) and node._forward_cls is cls:
                node.pretended = devices
        return result

    def marked_backward(self: Any, *gradients: Any) -> Any:
        for gradient, device in zip(gradients, getattr(self, "pretended", ()), strict=False):
            if isinstance(gradient, torch.Tensor) and device is not None:
                mark(gradient, device)
        return mode.watched(lambda *given: backward(self, *given))(*gradients)

    patches.enter_context(mock.patch.object(torch.autograd.Function, "apply", classmethod(marked_apply)))
    patches.enter_context(mock.patch.object(BackwardCFunction, "apply", marked_backward))


def _patch_cuda(patches: contextlib.ExitStack) -> None:
    """What asks for a GPU without a tensor."""

    def zero(*_: Any, **__: Any) -> int:
        return 0

    def nothing(*_: Any, **__: Any) -> None:
        return None

    properties = types.SimpleNamespace(
        name="pretend GPU", total_memory=2**33, major=8, minor=0, multi_processor_count=1
    )
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "device_count": lambda: 1,
        "get_device_name": lambda *_: properties.name,
        "get_device_properties": lambda *_: properties,
        "get_device_capability": lambda *_: (8, 0),
        "mem_get_info": lambda *_: (2**33, 2**33),
        "memory_stats": lambda *_: {},
        "get_rng_state": lambda *_: torch.get_rng_state(),
    }
    for name in _words("current_device memory_allocated max_memory_allocated memory_reserved max_memory_reserved"):
        answers[name] = zero
    for name in _words(
        """
        init synchronize empty_cache set_device reset_peak_memory_stats reset_max_memory_allocated manual_seed
        manual_seed_all seed seed_all set_rng_state
        """
    ):
        answers[name] = nothing
    for name, answer in answers.items():
        patches.enter_context(mock.patch.object(torch.cuda, name, answer))
    patches.enter_context(mock.patch.object(torch.backends.cudnn, "is_acceptable", lambda tensor: False))


def _patch_rest(patches: contextlib.ExitStack) -> None:
    """Generators, the default device, autocast, files."""
    patches.enter_context(mock.patch.object(torch, "Generator", Generator))

    default = DeviceContext.__torch_function__

    def above_only(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(mode, PretendGPU) for mode in _get_current_function_mode_stack()):
            return default(self, func, types, args, kwargs)
        return func(*args, **(kwargs or {}))  # PretendGPU has seen this call

    patches.enter_context(mock.patch.object(DeviceContext, "__torch_function__", above_only))
    autocast = torch.autocast.__init__

    def on_cpu(self: Any, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: Any = None) -> None:
        if torch.device(device_type).type == "cuda":
            device_type, dtype = "cpu", dtype or torch.float16
        autocast(self, device_type, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    patches.enter_context(mock.patch.object(torch.autocast, "__init__", on_cpu))

    def tag(storage: Any) -> str | None:
        storage = getattr(storage, "_untyped_storage", storage)
        return "cuda:0" if getattr(storage, "pretend_cuda", False) else None

    def restored(storage: Any, location: str) -> Any:
        if not location.startswith("cuda"):
            return None
        getattr(storage, "_untyped_storage", storage).pretend_cuda = True
        return storage

    registry = torch.serialization._package_registry
    entry = (0, tag, restored)  # before that of the CPU
    registry.insert(0, entry)
    patches.callback(registry.remove, entry)


@contextlib.contextmanager
def pretend_gpu() -> Iterator[PretendGPU]:
    """A machine that seems to have one GPU, cuda:0. Not to be nested, and only for the thread that enters it."""
    mode = PretendGPU()
    with contextlib.ExitStack() as patches, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*CUDA is not available.*")
        _patch_functions(mode, patches)
        _patch_cuda(patches)
        _patch_rest(patches)
        patches.enter_context(mode)
        yield mode


def main() -> None:
    """Run the chapter that is named on the command line, in the smoke profile unless the environment says otherwise."""
    from utils.tools import run

    os.environ.setdefault("WALKTHROUGHS_PROFILE", "smoke")
    os.environ.update(WALKTHROUGHS_DEVICE="cuda", WALKTHROUGHS_QUIET="1")
    with pretend_gpu():
        run.execute_plain(sys.argv[1])
    print(f"{sys.argv[1]} ran on {sys.modules['__main__'].DEVICE}")


if __name__ == "__main__":
    main()
