const TRANSLATION = "en";

/** Return the code of the language of a text, or an empty text if it is not known. A translation is in English. */
export function textLanguage(task, spoken) {
  return (task === "translate" ? TRANSLATION : spoken) ?? "";
}
