// The page's texts. A language is one file in i18n/, named by its code; every file has the same keys.

import { FOLDER, config } from "./config.js";
import { settings } from "../store/settings.js";

const FALLBACK = "en";
const RIGHT_TO_LEFT = /[\u0590-\u08ff\u200f\u202b\u202e\u2067\ufb1d-\ufdff\ufe70-\ufeff]/u;
let texts = {};
let locale = FALLBACK;
let numberLocale = FALLBACK;
let plurals = new Intl.PluralRules(FALLBACK);

/** Load the language that the user chose, or else the best of the browser's. */
export async function loadTexts() {
  await useLocale(settings.get("locale") ?? bestLocale(navigator.languages, config.locales));
}

/** Load a language and remember it. */
export async function chooseLocale(name) {
  settings.set("locale", name);
  await useLocale(name);
}

async function useLocale(name) {
  locale = config.locales.includes(name) ? name : FALLBACK;
  const response = await fetch(new URL(`i18n/${locale}.json`, FOLDER));
  texts = await response.json();
  plurals = new Intl.PluralRules(locale);
  numberLocale = navigator.languages.find((each) => isFormOf(each, locale)) ?? locale;
  document.documentElement.lang = locale;
}

/** Return the first of `wanted` that is available, exactly or by its language; `zh-TW` is not `zh-CN`. */
export function bestLocale(wanted, available) {
  for (const each of wanted) {
    if (available.includes(each)) return each;
    const near = available.find((name) => isFormOf(each, name));
    if (near) return near;
  }
  return FALLBACK;
}

/** Return whether two locales have the same language and script, as `en-GB` and `en` have. */
function isFormOf(one, other) {
  const [first, second] = [parts(one), parts(other)];
  return first !== null && first.language === second.language && first.script === second.script;
}

/** Return the language and the script of a locale, or null if it has no valid name: some browsers have `en-US@posix`. */
function parts(name) {
  try {
    return new Intl.Locale(name).maximize();
  } catch {
    return null;
  }
}

export function currentLocale() {
  return locale;
}

/** Return the locale of dates and numbers: a form of the page's language that the browser prefers, such as `en-GB`. */
export function formatLocale() {
  return numberLocale;
}

/** Return the text of a key, with `{name}` replaced by `values.name`. With `values.count`, its plural form. */
export function t(key, values = {}) {
  const counted = values.count === undefined ? undefined : texts[`${key}.${plurals.select(values.count)}`];
  const text = counted ?? texts[key] ?? texts[`${key}.other`] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? show(values[name]) : whole));
}

/** Return whether the language has a text for the key. */
export function hasText(key) {
  return key in texts;
}

function show(value) {
  if (typeof value === "number") return new Intl.NumberFormat(numberLocale).format(value);
  // Text from right to left, such as an Arabic name, must not turn the sentence around it.
  return RIGHT_TO_LEFT.test(value) ? `\u2068${value}\u2069` : String(value);
}
