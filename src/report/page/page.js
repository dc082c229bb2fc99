// A column is sorted by its heading, each section by itself: numbers by their value, what has none last.
const value = (row, at) => {
  const text = row.cells[at] ? row.cells[at].textContent.trim() : "";
  const number = parseFloat(text.replace(/^[<>≥≤\s]+/, ""));
  return { text, number };
};
for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("thead th").forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
        const cells = new Map(rows.map((row) => [row, value(row, at)]));
        const words = rows.every((row) => Number.isNaN(cells.get(row).number));
        rows.sort((one, other) => {
          const [a, b] = [cells.get(one), cells.get(other)];
          if (words) return (down ? -1 : 1) * a.text.localeCompare(b.text);
          if (Number.isNaN(a.number) || Number.isNaN(b.number)) return Number.isNaN(a.number) - Number.isNaN(b.number);
          return (down ? -1 : 1) * (a.number - b.number);
        });
        body.append(...rows);
      }
    });
  });
}
// Paper shows what is folded away on a screen.
const folded = () => [...document.querySelectorAll("details:not([open])")];
let opened = [];
addEventListener("beforeprint", () => { opened = folded(); for (const one of opened) one.open = true; });
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
