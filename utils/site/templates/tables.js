// Sortable tables, by DataTables. The table of claims has a form above it, whose choices live in the address, so that
// they survive a visit to a chapter and can be sent to somebody.
document.addEventListener("DOMContentLoaded", () => {
  const plain = { paging: false, info: false, order: [], autoWidth: false };
  const layout = { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null };
  for (const element of document.querySelectorAll("table.sortable")) {
    const table = new DataTable(element, { ...plain, layout });
    const form = document.querySelector(`form[data-table="${element.id}"]`);
    if (element.id && form) choose(table, form);
  }

  function choose(table, form) {
    const shown = form.querySelector("output");
    const rows = table.rows().nodes().toArray();
    for (const row of rows) { // what the cells say already is not written twice into the page
      row.dataset.chapter = row.querySelector("a").pathname.match(/(\w+)\.html$/)[1];
      row.dataset.evidence = row.cells[3].textContent;
      row.dataset.headline = row.classList.contains("headline") ? "yes" : "";
    }
    const choices = () => new FormData(form);
    const fits = (row) => [...choices()].every(([name, value]) =>
      name === "q" || !value || row.dataset[name] === value);
    table.search.fixed("choices", (text, data, index) => fits(table.row(index).node()));
    table.on("draw", () => {
      let before = "";
      for (const row of table.rows({ search: "applied", order: "applied" }).nodes().toArray()) {
        row.classList.toggle("same-chapter", row.dataset.chapter === before);
        before = row.dataset.chapter;
      }
      shown.value = `${table.rows({ search: "applied" }).count()} of ${rows.length} shown`;
    });
    const show = () => table.search(choices().get("q") ?? "").draw();
    const read = () => {
      form.reset();
      for (const [name, value] of new URLSearchParams(location.search)) {
        const field = form.elements[name];
        if (field?.type === "checkbox") field.checked = true;
        else if (field) field.value = value;
      }
      show();
    };
    form.addEventListener("input", () => {
      const kept = new URLSearchParams([...choices()].filter(([, value]) => value));
      history.replaceState(null, "", `${location.pathname}${kept.size ? `?${kept}` : ""}${location.hash}`);
      show();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    window.addEventListener("pageshow", (event) => event.persisted && read());
    form.hidden = false;
    read();
  }
});
