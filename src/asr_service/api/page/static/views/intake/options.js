// The options of the next recordings: two in a line, the others under a fold. They are remembered.

import { loadOffer } from "../../api/options.js";
import { h } from "../../core/dom.js";
import { t } from "../../core/i18n.js";
import { settings } from "../../store/settings.js";
import { field, languageFields } from "./language_fields.js";

const NAME = "options";
const DEFAULTS = { language: "", task: "transcribe", hotwords: "", initial_prompt: "", words: true };

/** Return the options as fields of a request. */
export function requestOptions() {
  const { hotwords, initial_prompt: prompt, ...chosen } = remembered();
  return { ...languageOptions(chosen), hotwords: hotwords.trim(), initial_prompt: prompt.trim() };
}

/** Return the fields of a request that depend on the languages. */
export function languageOptions({ language, task }) {
  // The words of a translation were not spoken, so they have no times.
  return { language, task, word_timestamps: remembered().words && task !== "translate" };
}

function remembered() {
  return { ...DEFAULTS, ...settings.get(NAME) };
}

/** Returns {element, load, offer}; `load` asks the service what it offers, and `offer` is that, or null. */
export function optionsForm() {
  const chosen = remembered();
  const keep = (name, value) => {
    chosen[name] = value;
    settings.set(NAME, chosen);
  };
  const languages = languageFields(chosen, keep, "option");
  const model = h("p", { class: "hint" });
  const words = h("input", { type: "checkbox", id: "option-words", checked: chosen.words, onchange: () => keep("words", words.checked) });
  let offer = null;

  async function load() {
    offer = await loadOffer();
    languages.fill(offer);
    model.textContent = t("options.model", { model: offer.model });
  }

  const element = h(
    "div",
    { class: "options" },
    h("div", { class: "options-line" }, languages.elements),
    h(
      "details",
      { class: "fold", open: settings.get("fold") === true, ontoggle: (event) => settings.set("fold", event.target.open) },
      h("summary", {}, t("options.more")),
      field("hotwords", area("hotwords", chosen, keep), t("options.hotwords_hint")),
      field("initial_prompt", area("initial_prompt", chosen, keep), t("options.prompt_hint")),
      h("div", { class: "check" }, words, h("label", { for: "option-words" }, t("options.words"))),
      model,
    ),
  );
  return {
    element,
    load,
    get offer() {
      return offer;
    },
  };
}

function area(name, chosen, keep) {
  const element = h("textarea", { id: `option-${name}`, rows: 2, maxlength: 4000, "aria-describedby": `hint-${name}`, oninput: () => keep(name, element.value) });
  element.value = chosen[name];
  return element;
}
