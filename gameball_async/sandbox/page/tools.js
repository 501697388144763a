// What every part of the page uses. All text goes in as text, never as HTML.

export const byId = (id) => document.getElementById(id);
export const count = new Intl.NumberFormat("en").format;
export const some = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export function copyOf(template) {
  return byId(template).content.firstElementChild.cloneNode(true);
}

export function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// a text that stays the same is not set again, so that a reader's selection in it survives
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

// Run at once, and after that no more often than every so many milliseconds; the last call is never dropped.
export function seldom(action, between) {
  let timer = null;
  let isWanted = false;
  return async function run() {
    if (timer !== null) {
      isWanted = true;
      return;
    }
    timer = setTimeout(() => {
      timer = null;
      if (isWanted) {
        isWanted = false;
        run();
      }
    }, between);
    await action();
  };
}

export function took(milliseconds) {
  if (milliseconds < 1) {
    return "< 1 ms";
  }
  return milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
