// What the service says about a recording, such as lost parts, in the language of the page.

import { exactly } from "../core/format.js";
import { hasText, t } from "../core/i18n.js";

/** Return sentences. A warning that has no text of its own is shown in the service's words. */
export function warningTexts({ warnings = [], warning_details: details = [] }) {
  return warnings.flatMap((sentence, index) => {
    const { code, values } = details[index] ?? {};
    if (code === "no_speech" || sentence === "No speech was found.") return []; // the editor has its own words for that
    return [hasText(`warning.${code}`) || hasText(`warning.${code}.other`) ? t(`warning.${code}`, shown(values)) : sentence];
  });
}

function shown(values) {
  const texts = Object.entries(values).map(([name, value]) => [name, name.endsWith("_s") ? exactly(value) : value]);
  return Object.fromEntries(texts);
}
