"use strict";
// What the pages do: choose two runs, look at a dropped image, keep what is said of labels.

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function made(tag, values, ...children) {
  const element = Object.assign(document.createElement(tag), values);
  element.append(...children);
  return element;
}

async function post(address, body, type) {
  let answer;
  try {
    answer = await fetch(address, { method: "POST", body, headers: { "Content-Type": type } });
  } catch {
    throw new Error("the server can't be reached: is headstart ui still running?");
  }
  const isData = (answer.headers.get("Content-Type") || "").startsWith("application/json");
  const found = isData ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw new Error(found.error || `the server answered ${answer.status}`);
  return found;
}

function pickRuns(form) {
  const ticks = all("input[name=run]", form);
  const show = () => {
    const count = ticks.filter((tick) => tick.checked).length;
    find("button", form).disabled = count !== 2;
    find("#picked").textContent = count === 2 ? "" : `${count} chosen; choose two to see their reports beside each other.`;
  };
  ticks.forEach((tick) => tick.addEventListener("change", show));
  show();
}

function tryImages(form) {
  const status = find("#status");
  const result = find("#result");
  const drop = find(".drop", form);
  const input = find("input", form);
  let latest = 0;

  const tell = (text, isFault = false) => {
    status.textContent = text;
    status.classList.toggle("fault", isFault);
  };

  async function look(file) {
    const mine = ++latest;
    result.hidden = true;
    if (file.size > Number(form.dataset.most)) {
      tell(`${file.name} has ${(file.size / 1048576).toFixed(0)} MB, more than is taken: make it smaller.`, true);
      return;
    }
    tell(`Looking at ${file.name}; the first image of a run takes some seconds …`);
    try {
      const found = await post(`${location.pathname}?name=${encodeURIComponent(file.name)}`, file, "application/octet-stream");
      if (mine !== latest) return;
      show(found, file.name);
      tell("");
      result.hidden = false;
    } catch (error) {
      if (mine === latest) tell(error.message, true);
    }
  }

  function show(found, name) {
    const label = found.label.join(", ") || "no label";
    const sure = found.confidence === null ? "" : `, ${percent(found.confidence)} sure`;
    const novel = found.is_novel ? " It is unlike the training images, so don't rely on that." : "";
    find("#said").textContent = `${label}${sure}.${novel}`;
    find("#bars").replaceChildren(...found.probabilities.map(([title, share]) => {
      const bar = made("i", {});
      bar.style.width = percent(share);
      const row = made("div", {}, made("span", { className: "name", textContent: title }),
        made("span", { className: "bar" }, bar), made("span", { className: "right", textContent: percent(share) }));
      row.classList.toggle("own", found.label.includes(title));
      return row;
    }));
    find("#notes").replaceChildren(...found.notes.map((textContent) => made("li", { textContent })));
    Object.assign(find("#picture"), { src: found.picture, alt: `The image ${name}` });
    find("#named").textContent = name;
    find("#mapped").hidden = found.map === null;
    if (found.map !== null) Object.assign(find("#map"), { src: found.map, alt: `What speaks for ${found.target}` });
    find("#about").textContent = `What speaks for ${found.target}: the lighter the colour, the more. Grey says nothing or speaks against it.`;
    find("#near").hidden = found.neighbours.length === 0;
    find("#neighbours").replaceChildren(...found.neighbours.map((near) => {
      const picture = near.picture === null
        ? made("span", { className: "gone", textContent: "no longer there" })
        : made("img", { src: near.picture, alt: near.file });
      const labels = near.label.join(", ") || "no label";
      return made("figure", {}, made("div", { className: "plate" }, picture),
        made("figcaption", {}, made("strong", { textContent: labels }), ` ${near.similarity.toFixed(2)}`,
          made("span", { className: "file", textContent: near.file })));
    }));
  }

  input.addEventListener("change", () => { if (input.files.length) look(input.files[0]); input.value = ""; });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) look(event.dataTransfer.files[0]);
    else tell("That was no file: drop an image file.", true);
  });
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) look(event.clipboardData.files[0]); });
}

function judgeLabels(list) {
  all(".card", list).forEach((card) => {
    const line = find(".mark", card);
    const show = (mark) => {
      line.classList.remove("fault");
      card.classList.toggle("marked", mark !== null);
      find("[data-verdict=open]", card).hidden = mark === null;
      line.textContent = mark === null ? "" : told(mark);
    };
    show(JSON.parse(card.dataset.mark));
    const picture = find("img", card);
    const gone = () => { picture.parentElement.hidden = true; find(".gone", card).hidden = false; };
    picture.addEventListener("error", gone);
    if (picture.complete && picture.naturalWidth === 0) picture.src = picture.src; // failed before this script ran: ask again

    all("button", card).forEach((button) => button.addEventListener("click", async () => {
      const chosen = [...find("select", card).selectedOptions].map((option) => option.value).filter((value) => value !== "");
      const several = find("select", card).multiple;
      if ("chosen" in button.dataset && !several && chosen.length === 0) {
        find("select", card).focus();
        return;
      }
      const labels = "chosen" in button.dataset ? chosen : JSON.parse(button.dataset.labels || "[]");
      const mark = { file: card.dataset.file, verdict: button.dataset.verdict, labels, no_class: "none" in button.dataset };
      try {
        const kept = await post(location.pathname, JSON.stringify(mark), "application/json");
        show(kept.mark);
        find("#marked").textContent = kept.marked;
      } catch (error) {
        line.textContent = `Not kept: ${error.message}`;
        line.classList.add("fault");
      }
    }));
  });
}

function told(mark) {
  const words = (labels) => labels.split("|").filter(Boolean).join(", ") || "no label";
  if (mark.verdict === "right") return `Right: stays ${words(mark.label_given)}.`;
  if (mark.label_corrected === "") return "None of the classes: left out.";
  return `Wrong: ${words(mark.label_given)} becomes ${words(mark.label_corrected)}.`;
}

function copyCommand(button) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(find("#command").textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(find("#command"));
      button.textContent = "Selected: copy it with Ctrl-C";
    }
  });
}

for (const [selector, begin] of [["#pick", pickRuns], ["#try", tryImages], ["#labels", judgeLabels], ["#copy", copyCommand]]) {
  const element = find(selector);
  if (element) begin(element);
}
