// Adds to the static page: filters and sorting of the heat map, a dialog for its cells, charts with
// tooltips. The page is complete without it.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const json = id => { const node = document.getElementById(id); return node && JSON.parse(node.textContent); };
  const sign = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(1);

  // Heat map
  const data = json("explorer");
  const form = document.getElementById("filters");
  if (data && form) {
    const cells = all(".heat td.e").map(node => ({
      node, link: node.firstElementChild, html: node.firstElementChild.innerHTML,
      values: data.cells[node.dataset.i], evaluation: node.dataset.e,
    }));
    const fill = (name, options) => {
      for (const [value, text] of options) form.elements[name].add(new Option(text, value));
    };
    const facts = Object.values(data.facts), unique = list => [...new Set(list)].sort();
    const metrics = unique(cells.flatMap(cell => Object.keys(cell.values)));
    fill("backbone", all(".heatmap").map(node => [node.dataset.backbone, node.dataset.backbone]));
    fill("evaluation", data.evaluations.map(name => [name, name]));
    fill("metric", metrics.map(name => [name, name]));
    fill("family", unique(facts.map(fact => fact[1])).map(name => [name, name]));
    fill("script", unique(facts.map(fact => fact[2])).map(name => [name, name]));

    const update = () => {
      const chosen = Object.fromEntries(["backbone", "evaluation", "metric", "family", "script", "seen"]
        .map(name => [name, form.elements[name].value]));
      const keeps = code => {
        const [, family, script, seen] = data.facts[code];
        return (!chosen.family || family === chosen.family) && (!chosen.script || script === chosen.script)
          && (!chosen.seen || seen === Number(chosen.seen));
      };
      const languages = chosen.family || chosen.script || chosen.seen;
      const largest = {};
      for (const cell of cells) {
        const metric = chosen.metric || data.official[cell.evaluation];
        const value = cell.values[metric];
        cell.effect = null;
        cell.text = null;
        if (value) {
          if (languages) {
            const kept = value[4].filter((effect, k) => effect !== null && keeps(data.languages[cell.evaluation][k]));
            if (kept.length) {
              cell.effect = kept.reduce((sum, effect) => sum + effect, 0) / kept.length;
              cell.text = `${kept.length} language${kept.length === 1 ? "" : "s"}`;
            }
          } else {
            cell.effect = value[0];
            cell.text = `${sign(value[1])} … ${sign(value[2])}`;
            cell.clear = value[3];
          }
        }
        if (cell.effect !== null) largest[cell.evaluation] = Math.max(largest[cell.evaluation] || 0, Math.abs(cell.effect));
      }
      for (const cell of cells) {
        const strength = cell.effect === null || !largest[cell.evaluation] ? 0 : Math.round(100 * Math.abs(cell.effect) / largest[cell.evaluation]);
        cell.node.style.setProperty("--v", strength);
        cell.node.classList.toggle("p", cell.effect > 0);
        cell.node.classList.toggle("m", cell.effect < 0);
        cell.node.dataset.effect = cell.effect === null ? "" : cell.effect;
        if (!languages && !chosen.metric) { cell.link.innerHTML = cell.html; continue; }
        const number = document.createElement("span"), small = document.createElement("small");
        number.textContent = cell.effect === null ? "–" : sign(cell.effect);
        number.className = cell.clear && !languages ? "clear" : "";
        small.textContent = cell.text || "none";
        cell.link.replaceChildren(number, small);
      }
      for (const node of all(".heatmap")) {
        node.hidden = Boolean(chosen.backbone) && node.dataset.backbone !== chosen.backbone;
        for (const one of all("[data-e]", node)) one.hidden = Boolean(chosen.evaluation) && one.dataset.e !== chosen.evaluation;
      }
      const parts = [];
      if (languages) parts.push("Means over the chosen languages, without intervals or tests.");
      if (chosen.metric) parts.push("Tests of other metrics than the official ones are exploratory.");
      form.querySelector("output").textContent = parts.join(" ");
    };
    form.addEventListener("change", update);
    form.addEventListener("submit", event => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(update));

    for (const table of all(".heat")) {
      all("thead th", table).forEach((head, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener("click", () => {
          const down = head.getAttribute("aria-sort") !== "descending";
          for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
          head.setAttribute("aria-sort", down ? "descending" : "ascending");
          const body = table.tBodies[0];
          const key = row => column === 0 ? row.cells[0].textContent : parseFloat(row.cells[column].dataset.effect);
          const rows = [...body.rows].sort((a, b) => {
            const x = key(a), y = key(b);
            if (column === 0) return down ? y.localeCompare(x) : x.localeCompare(y);
            if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
            return down ? y - x : x - y;
          });
          body.append(...rows);
        });
      });
    }

    const dialog = document.getElementById("cell");
    for (const cell of cells) {
      cell.link.addEventListener("click", event => {
        const source = document.getElementById(cell.link.hash.slice(1));
        if (!source) return;
        event.preventDefault();
        const copy = source.cloneNode(true);
        copy.removeAttribute("id");
        dialog.querySelector("h2").textContent = source.dataset.title;
        dialog.querySelector("div").replaceChildren(copy);
        dialog.showModal();
      });
    }
    dialog.querySelector("button").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  }

  // A link to something inside closed details opens them; so does printing.
  const open = id => {
    for (let node = document.getElementById(id); node; node = node.parentElement) if (node.localName === "details") node.open = true;
  };
  addEventListener("hashchange", () => open(decodeURIComponent(location.hash.slice(1))));
  if (location.hash) open(decodeURIComponent(location.hash.slice(1)));
  addEventListener("beforeprint", () => {
    for (const node of all("details:not([open]):not(.many, .many *)")) { node.dataset.closed = ""; node.open = true; }
  });
  addEventListener("afterprint", () => {
    for (const node of all("details[data-closed]")) { delete node.dataset.closed; node.open = false; }
  });

  // Charts: the static SVG is replaced when it comes into view.
  const draw = (node, spec) => vegaEmbed(node.ownerDocument.createElement("div"), spec, {
    ast: true, actions: false, renderer: "svg", loader: { load: () => Promise.reject(new Error("no requests")) },
  }).then(result => {
    const svg = result.view.container().querySelector("svg");
    for (const one of all("[role], [aria-label], [aria-roledescription]", svg.parentElement)) {
      for (const name of ["role", "aria-label", "aria-roledescription"]) one.removeAttribute(name);
    }
    node.replaceChildren(result.view.container());
    svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
    node.dataset.drawn = "";
  });
  if (window.vegaEmbed && "IntersectionObserver" in window) {
    const observer = new IntersectionObserver(entries => {
      for (const entry of entries) if (entry.isIntersecting) {
        observer.unobserve(entry.target);
        draw(entry.target, json(entry.target.dataset.spec));
      }
    }, { rootMargin: "200px" });
    for (const node of all(".chart[data-spec]")) observer.observe(node);
  }
})();
