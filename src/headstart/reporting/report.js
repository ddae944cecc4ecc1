"use strict";
(() => {
  const all = (where, what) => Array.from(where.querySelectorAll(what));
  const words = new Intl.Collator("en", { numeric: true });

  // Tables: a heading becomes a button that sorts by its column, and says so.
  const cellOf = (row, at) => row.children[at].textContent.trim();
  const numberOf = (told) => parseFloat(told.replace(/[,*%]/g, "").replace("\u2212", "-"));
  const compare = (a, b) => {
    const [x, y] = [numberOf(a), numberOf(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? words.compare(a, b) : x - y;
  };
  for (const table of all(document, "table.sortable")) {
    const heads = all(table, "thead th");
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = all(table.tBodies[0], "tr");
        rows.sort((a, b) => (down ? -1 : 1) * compare(cellOf(a, at), cellOf(b, at)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // The album: choose by truth, answer and outcome, and put in order.
  const album = document.getElementById("album");
  if (!album) return;
  const list = album.querySelector("ul.album");
  const cards = all(list, "li");
  const form = album.querySelector(".choices");
  const status = album.querySelector("[role=status]");
  const [truth, answer, outcome, order] = all(form, "select");
  const has = (numbers, wanted) => !wanted || numbers.split(" ").includes(wanted);
  const by = {
    given: (a, b) => a.dataset.place - b.dataset.place,
    sure: (a, b) => b.dataset.sure - a.dataset.sure,
    unsure: (a, b) => a.dataset.sure - b.dataset.sure,
    file: (a, b) => words.compare(a.dataset.file, b.dataset.file),
  };
  cards.forEach((card, place) => { card.dataset.place = place; });
  const show = () => {
    let count = 0;
    for (const card of cards) {
      card.hidden = !(has(card.dataset.truth, truth.value) && has(card.dataset.answer, answer.value)
        && (!outcome.value || card.dataset.right === outcome.value));
      count += !card.hidden;
    }
    list.append(...cards.slice().sort(by[order.value]));
    status.textContent = `${count} of ${cards.length} pictures`;
  };
  const clear = () => { truth.value = answer.value = outcome.value = ""; order.value = "given"; show(); };
  form.hidden = false;
  for (const select of [truth, answer, outcome, order]) select.addEventListener("change", show);
  form.querySelector("button").addEventListener("click", clear);
  for (const link of all(document, ".matrix a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      clear();
      [truth.value, answer.value] = [link.dataset.truth, link.dataset.answer];
      show();
      album.querySelector("details").open = true;
      album.scrollIntoView();
      album.querySelector("h2").focus({ preventScroll: true });
    });
  }
  show();
})();
