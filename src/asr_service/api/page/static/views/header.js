// The top of the page: its name, its language, the keys and the way to the API's documentation.

import { BASE, config } from "../core/config.js";
import { h, icon } from "../core/dom.js";
import { languageName } from "../core/format.js";
import { chooseLocale, currentLocale, t } from "../core/i18n.js";
import { ICONS } from "../core/icons.js";

/** `actions` has `help` and `redraw`, which builds the page again in the chosen language. */
export function pageHeader(actions) {
  const locale = h("select", { id: "locale", "aria-label": t("header.language") });
  locale.append(
    ...config.locales.map((code) => h("option", { value: code, lang: code, selected: code === currentLocale() }, ownName(code))),
  );
  locale.onchange = async () => {
    await chooseLocale(locale.value);
    actions.redraw();
    document.getElementById("locale").focus();
  };
  return h(
    "header",
    { class: "top" },
    h("h1", {}, h("a", { href: "#/" }, config.name || t("app.name"))),
    h(
      "nav",
      { "aria-label": t("header.nav") },
      locale,
      h("button", { type: "button", class: "quiet", "aria-label": t("keys.title"), title: t("keys.title"), onclick: actions.help }, icon(ICONS.keyboard)),
      h("a", { class: "quiet", href: new URL("docs", BASE) }, t("header.api")),
    ),
  );
}

/** The name of a language in itself: `English`, and of `zh-CN` the name of its script, `简体中文`. */
function ownName(code) {
  try {
    const { language, script } = new Intl.Locale(code).maximize();
    return new Intl.DisplayNames(code, { type: "language" }).of(code.includes("-") ? `${language}-${script}` : code);
  } catch {
    return languageName(code);
  }
}
