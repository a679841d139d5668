// What the service offers: languages and the model.

import { requestJson } from "./client.js";

/** Return {model, languages: [{code, name}], isMultilingual}. Throws Problem. */
export async function loadOffer() {
  const { model, languages } = await requestJson("languages");
  const known = languages.filter((each) => each.known);
  return { model, languages: known, isMultilingual: known.length > 1 };
}

/** Resolves if the key is accepted. Throws Problem. */
export async function checkKey() {
  await requestJson("v1/models");
}
