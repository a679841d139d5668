// The options of the next recordings: two in a line, the others under a fold. They are remembered.

import { loadOffer } from "../../api/options.js";
import { languageName } from "../../core/format.js";
import { h } from "../../core/dom.js";
import { currentLocale, t } from "../../core/i18n.js";
import { settings } from "../../store/settings.js";

const NAME = "options";
const SCRIPTS = ["zh-Hans", "zh-Hant"];
const DEFAULTS = { language: "", task: "transcribe", hotwords: "", initial_prompt: "", words: true };

/** Return the options as fields of a request. */
export function requestOptions() {
  const { language, task, hotwords, initial_prompt: prompt, words } = { ...DEFAULTS, ...settings.get(NAME) };
  const isTranslation = task === "translate";
  return {
    language,
    task,
    hotwords: hotwords.trim(),
    initial_prompt: prompt.trim(),
    // The words of a translation were not spoken, so they have no times.
    word_timestamps: words && !isTranslation,
  };
}

/** Returns {element, load}; `load` asks the service what it offers. */
export function optionsForm() {
  const chosen = { ...DEFAULTS, ...settings.get(NAME) };
  const keep = (name, value) => {
    chosen[name] = value;
    settings.set(NAME, chosen);
  };
  const language = select("language", keep);
  const task = select("task", keep, [
    ["transcribe", t("options.same_language")],
    ["translate", t("options.english")],
  ]);
  const model = h("p", { class: "hint" });
  task.value = chosen.task;
  fillLanguages([]);

  function fillLanguages(languages) {
    const named = languages.flatMap(({ code, name }) =>
      (code === "zh" ? SCRIPTS : [code]).map((each) => [each, languageName(each, capitalised(name))]),
    );
    const collator = new Intl.Collator(currentLocale());
    named.sort(([, one], [, other]) => collator.compare(one, other));
    const options = [["", t("options.detect")], ["auto-per-chunk", t("options.several")], ...named];
    // A remembered language stays, also before the service has listed its languages.
    if (!options.some(([code]) => code === chosen.language)) options.push([chosen.language, languageName(chosen.language)]);
    language.replaceChildren(...options.map(([code, name]) => h("option", { value: code }, name)));
    language.value = chosen.language;
  }

  async function load() {
    const offer = await loadOffer();
    fillLanguages(offer.languages);
    model.textContent = t("options.model", { model: offer.model });
    task.closest(".field").hidden = !offer.isMultilingual;
    // A model that does not translate refuses the choice that was made with another model.
    if (!offer.isMultilingual && chosen.task !== DEFAULTS.task) keep("task", (task.value = DEFAULTS.task));
  }

  const words = h("input", { type: "checkbox", id: "option-words", checked: chosen.words, onchange: () => keep("words", words.checked) });
  const element = h(
    "div",
    { class: "options" },
    h("div", { class: "options-line" }, field("language", language), field("task", task)),
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
  return { element, load };
}

function select(name, keep, options = []) {
  const element = h("select", { id: `option-${name}`, onchange: () => keep(name, element.value) });
  element.append(...options.map(([value, text]) => h("option", { value }, text)));
  return element;
}

function area(name, chosen, keep) {
  const element = h("textarea", { id: `option-${name}`, rows: 2, maxlength: 4000, "aria-describedby": `hint-${name}`, oninput: () => keep(name, element.value) });
  element.value = chosen[name];
  return element;
}

function field(name, control, hint = "") {
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, t(`options.${name}`)),
    control,
    hint ? h("p", { class: "hint", id: `hint-${name}` }, hint) : null,
  );
}

function capitalised(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
