// A figure opens in full size: by a click, or by Enter where the keyboard stands on it. Escape or a click closes it.
(() => {
  const box = document.createElement("dialog");
  box.className = "full-size";
  box.setAttribute("aria-label", "Figure in full size");
  box.addEventListener("click", () => box.close());
  box.addEventListener("keydown", (event) => {  // not every browser does it by itself
    if (event.key === "Escape") box.close();
  });
  document.body.append(box);

  for (const image of document.querySelectorAll(".bd-content div.cell_output img:not(figure.explorable img)")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.title = "Show in full size";
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      const copy = image.cloneNode();
      copy.removeAttribute("style");
      copy.removeAttribute("width");
      box.replaceChildren(copy);
      box.showModal();
    });
  }
})();
