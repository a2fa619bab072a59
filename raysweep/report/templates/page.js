// Tables that sort by a click on a heading, and buttons that copy a text. The page is whole without either.
"use strict";
(() => {
  const number = (text) => {
    const found = text.replace(/\u2212/g, "-").replace(/,(?=\d{3})/g, "").match(/^[★<>\s]*([-+]?\d+(?:\.\d+)?)/);
    return found ? parseFloat(found[1]) : null;
  };
  const compare = (a, b, down) => {  // rows that have nothing in the column stay last
    if (a.empty || b.empty) return a.empty - b.empty || a.place - b.place;
    const both = a.number !== null && b.number !== null;
    const order = both ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true });
    return (down ? -order : order) || a.place - b.place;
  };
  const sort = (table, column, down, numeric) => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row, i) => {
      const cell = row.cells[column];
      const text = (cell ? cell.textContent : "").trim();
      const place = row.dataset.place === undefined ? (row.dataset.place = i) : row.dataset.place;
      const empty = text === "" || (cell && cell.classList.contains("gone"));
      return { row, text, place: +place, empty: +empty, number: numeric ? number(text) : null };
    });
    rows.sort((a, b) => compare(a, b, down));
    body.append(...rows.map((r) => r.row));
  };
  for (const table of document.querySelectorAll("table.sorts")) {
    if (!table.tBodies[0] || table.tBodies[0].rows.length < 3) continue;
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("n");
        const now = head.getAttribute("aria-sort");
        const down = now ? now === "ascending" : numeric;  // numbers begin with the highest
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, column, down, numeric);
      });
    });
  }
  for (const text of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    const done = (ok) => { button.textContent = ok ? "Copied" : "Selected: press Ctrl+C"; };
    button.addEventListener("click", () => {
      const range = document.createRange();
      range.selectNodeContents(text);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      if (navigator.clipboard && window.isSecureContext) {
        navigator.clipboard.writeText(text.textContent).then(() => done(true), () => done(document.execCommand("copy")));
      } else {
        done(document.execCommand("copy"));
      }
    });
    text.after(button);
  }
})();
