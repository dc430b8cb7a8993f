// Puts the chart in the place of the picture of an explorable figure, once the figure comes near the window. Where that
// fails the picture stays. Letters and lines take the page's font and colour, and follow it when the theme changes.
(() => {
  const library = new URL("vega.js", document.currentScript.src);
  const ink = "currentColor";
  let loading;

  const load = () => (loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = library;
    script.onload = () => resolve(window.vegaEmbed);
    script.onerror = () => reject(new Error("The script that draws the charts could not be loaded."));
    document.head.append(script);
  }));

  const look = (font) => ({
    font,
    axis: { labelColor: ink, titleColor: ink, domainColor: ink, tickColor: ink, gridColor: ink, gridOpacity: 0.15 },
    header: { labelColor: ink, titleColor: ink },
    legend: { labelColor: ink, titleColor: ink },
    title: { color: ink, subtitleColor: ink },
    text: { color: ink },
    rule: { color: ink },
  });

  // A chart of one view is laid out for the width that there is; others are drawn as they are and shrunk.
  const stretches = (spec) => typeof spec.width === "number" && (spec.mark || spec.layer) &&
    !["row", "column", "facet"].some((channel) => spec.encoding?.[channel]);

  // Vega leaves two things to say: what a row of choices is about, and that marks without a text are for the eye only.
  function name(place) {
    for (const row of place.querySelectorAll(".vega-bind-radio")) {
      row.setAttribute("role", "radiogroup");
      row.setAttribute("aria-label", row.previousElementSibling.textContent.trim());
    }
    for (const mark of place.querySelectorAll("[role='graphics-symbol']:not([aria-label])")) {
      mark.setAttribute("aria-hidden", "true");
    }
  }

  async function draw(figure) {
    const picture = figure.querySelector("img");
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const place = document.createElement("div");
    if (stretches(spec)) {
      spec.width = "container";
      place.style.maxWidth = `${picture.getAttribute("width")}px`;
    }
    const category = spec.config.range.category;
    if (Array.isArray(category)) {
      spec.config.range.category = category.map((colour) => (colour === "#000000" ? ink : colour));
    }
    const embed = await load();
    place.className = "drawn";
    figure.append(place);
    figure.classList.add("live");
    try {
      const config = look(getComputedStyle(figure).fontFamily);
      await embed(place, spec, { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, config });
      name(place);
      figure.setAttribute("role", "group");
      figure.setAttribute("aria-label", picture.alt);
    } catch (error) {
      figure.classList.remove("live");
      place.remove();
      throw error;
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) {
        near.unobserve(target);
        draw(target).catch((error) => console.warn(error));
      }
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll("figure.explorable").forEach((figure) => near.observe(figure));
})();
