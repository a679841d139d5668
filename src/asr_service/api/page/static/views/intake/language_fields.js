// The two choices that every recording has: the language that is spoken, and the language of the text.

import { languageName } from "../../core/format.js";
import { h } from "../../core/dom.js";
import { currentLocale, t } from "../../core/i18n.js";

const SCRIPTS = ["zh-Hans", "zh-Hant"];

/**
 * Returns {elements, fill}. `chosen` has `language` and `task`, `choose(name, value)` gets each choice, and the ids of the
 * fields begin with `prefix`. `fill` offers what the model knows: see api/options.js.
 */
export function languageFields(chosen, choose, prefix) {
  const select = (name, options) => {
    const element = h("select", { id: `${prefix}-${name}`, onchange: () => choose(name, element.value) });
    setOptions(element, options, chosen[name]);
    return element;
  };
  const language = select("language", languageOptions([], chosen.language));
  const task = select("task", [
    ["transcribe", t("options.same_language")],
    ["translate", t("options.english")],
  ]);
  const taskField = field("task", task);

  function fill({ languages, isMultilingual }) {
    setOptions(language, languageOptions(languages, language.value), language.value);
    taskField.hidden = !isMultilingual;
    // A model that does not translate refuses the choice that was made with another model.
    if (!isMultilingual && task.value !== "transcribe") choose("task", (task.value = "transcribe"));
  }

  return { elements: [field("language", language), taskField], fill };
}

/** Return a control with its label, and a hint. */
export function field(name, control, hint = "") {
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, t(`options.${name}`)),
    control,
    hint ? h("p", { class: "hint", id: `hint-${name}` }, hint) : null,
  );
}

/** Return [value, text] of each choice. The one that was made stays, also before the service has listed its languages. */
function languageOptions(languages, chosen) {
  const named = languages.flatMap(({ code, name }) =>
    (code === "zh" ? SCRIPTS : [code]).map((each) => [each, languageName(each, capitalised(name))]),
  );
  const collator = new Intl.Collator(currentLocale());
  named.sort(([, one], [, other]) => collator.compare(one, other));
  const options = [["", t("options.detect")], ["auto-per-chunk", t("options.several")], ...named];
  if (!options.some(([code]) => code === chosen)) options.push([chosen, languageName(chosen)]);
  return options;
}

function setOptions(select, options, value) {
  select.replaceChildren(...options.map(([each, text]) => h("option", { value: each }, text)));
  select.value = value;
}

function capitalised(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
