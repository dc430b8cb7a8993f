// Sorts a table by the column whose heading is pressed; a second press reverses the order. Above a table that
// names columns to choose from, it offers their values and shows the rows that have the chosen ones.
document.addEventListener("DOMContentLoaded", () => {
  const number = /^[^\d-]*(-?\d+(?:\.\d+)?)/;
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const found = cell.querySelector("a") ? null : text.match(number);
    return found ? Number(found[1]) : text;
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b);
    return typeof a === "number" ? -1 : 1; // numbers before text
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compare(value(a, column), value(b, column)) * (down ? -1 : 1));
      table.tBodies[0].append(...rows);
    }));
    if (table.dataset.choices) offer(table, heads, table.dataset.choices.split(" ").map(Number));
  }

  function offer(table, heads, columns) {
    const rows = [...table.tBodies[0].rows];
    const line = document.createElement("p");
    const shown = document.createElement("span");
    shown.setAttribute("role", "status");
    line.className = "choices";
    const selects = columns.map((column) => {
      const label = document.createElement("label");
      const select = document.createElement("select");
      const values = new Set(rows.map((row) => row.cells[column].textContent.trim()));
      select.append(new Option("all", ""), ...[...values].map((text) => new Option(text, text)));
      select.addEventListener("change", show);
      label.append(`${heads[column].textContent} `, select);
      line.append(label);
      return select;
    });
    function show() {
      const fits = (row) => columns.every((column, k) =>
        !selects[k].value || row.cells[column].textContent.trim() === selects[k].value);
      for (const row of rows) row.hidden = !fits(row);
      shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown`;
    }
    line.append(shown);
    show();
    table.closest(".table-box").before(line);
  }
});
