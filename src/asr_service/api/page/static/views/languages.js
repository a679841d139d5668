import { languageName } from "../core/format.js";
import { t } from "../core/i18n.js";
import { textLanguage } from "../editor/model/text_language.js";

/** Return the spoken language of an item in words, and that of its text if it is another one; null if none is known. */
export function languagesInWords({ language, options }) {
  if (!language) return null;
  const spoken = languageName(language);
  const isOther = textLanguage(options.task, language) !== language;
  return isOther ? t("row.translated", { language: spoken }) : spoken;
}
