// Names the speaker of a segment, in a small form in its row.

import { h } from "../../core/dom.js";
import { REACH } from "../model/document.js";

export class SpeakerForm {
  #document;
  #rows;
  #t;
  #form = null;

  constructor(document_, rows, t) {
    this.#document = document_;
    this.#rows = rows;
    this.#t = t;
  }

  open(id) {
    this.#form?.remove();
    const { speaker: button } = this.#rows.parts(id);
    const old = this.#document.segment(id).speaker;
    const names = h(
      "datalist",
      { id: "editor-speakers" },
      this.#document.speakers.map((name) => h("option", { value: name })),
    );
    const name = h("input", {
      type: "text",
      list: "editor-speakers",
      maxlength: 80,
      autocomplete: "off",
      value: old,
      "aria-label": this.#t("editor.speaker"),
      placeholder: this.#t("editor.speaker"),
    });
    const reaches = [REACH.onward, REACH.everywhere, REACH.one].filter((reach) => old || reach !== REACH.everywhere);
    const reach = h(
      "select",
      { "aria-label": this.#t("editor.reach") },
      reaches.map((each) => h("option", { value: each }, this.#t(`editor.reach_${each}`, { name: old }))),
    );
    const close = (isKept) => {
      if (this.#form !== form) return;
      this.#form = null; // first: a form that is removed loses the focus, which closes it
      form.remove();
      button.hidden = false;
      if (isKept && this.#document.position(id) >= 0) this.#document.setSpeaker(id, name.value, reach.value);
    };
    const form = h(
      "form",
      {
        class: "speaker-form",
        onsubmit: (event) => {
          event.preventDefault();
          close(true);
          button.focus();
        },
        onkeydown: (event) => {
          if (event.key !== "Escape") return;
          event.stopPropagation();
          close(false);
          button.focus();
        },
        onfocusout: (event) => !form.contains(event.relatedTarget) && document.hasFocus() && close(true),
      },
      name,
      reach,
      h("button", { type: "submit", class: "small" }, this.#t("editor.set")),
      names,
    );
    this.#form = form;
    button.hidden = true;
    button.after(form);
    name.focus();
    name.select();
  }
}
