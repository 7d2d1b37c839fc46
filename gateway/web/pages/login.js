// Logging in, and the first password.

import { post } from "./api.js";
import { el, with_ } from "./dom.js";
import { sayParts } from "./said.js";
import { t } from "./texts.js";
import { sayError } from "./words.js";

let numbers = 0;

/** A field under its label. */
function field(label, attributes) {
  const input = with_(el("input"), { id: `field-${++numbers}`, required: "", ...attributes });
  return [with_(el("label", label), { for: input.id }), input];
}

class Form {
  constructor(heading, note, fields, action) {
    this.heading = heading;
    this.alert = with_(el("p.error"), { role: "alert" });
    this.alert.hidden = true;
    this.send = with_(el("button.main", action), { type: "submit" });
    this.form = el("form.login", el("h1", heading), el("p.note", note), ...fields, this.alert, this.send);
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.submit();
    };
    this.element = this.form;
    this.refused = { 429: t("too_often") }; // in words of our own, by status
  }

  title() { return this.heading; }

  async try(path, body, then) {
    this.send.disabled = true;
    sayError(this.alert, null);
    try {
      await post(path, body);
      then();
    } catch (error) {
      sayError(this.alert, error);
      if (this.refused[error.status]) sayParts(this.alert, [this.refused[error.status]]);
      this.send.disabled = false;
    }
  }
}

export class Login extends Form {
  constructor(enter, who) {
    const user = field(t("user"), { autocomplete: "username", autocapitalize: "none", spellcheck: "false" });
    const password = field(t("password"), { type: "password", autocomplete: "current-password" });
    super(t("log_in"), who.login === "certificate" ? t("needs_certificate") : t("needs_login"), who.login === "certificate" ? [] : [...user, ...password], t("log_in"));
    this.send.hidden = who.login === "certificate";
    this.refused[401] = t("wrong_password");
    this.submit = () => this.try("/api/v1/login", { user: user[1].value, password: password[1].value }, enter);
  }
}

/** The first start: whoever has the code of the log sets the password of the first engineer. Later: a new password. */
export class Password extends Form {
  constructor(enter, who) {
    const first = !who.user;
    const code = field(t("setup_code"), { autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    const user = field(t("user"), { autocomplete: "username", autocapitalize: "none", spellcheck: "false" });
    const old = field(t("old_password"), { type: "password", autocomplete: "current-password" });
    const password = field(t("new_password"), { type: "password", autocomplete: "new-password", minlength: "10" });
    super(
      t(first ? "first_start" : "change_password"), t(first ? "first_start_note" : "password_note"),
      first ? [...code, ...user, ...password] : [...old, ...password], t("set_password"),
    );
    this.refused[401] = t(first ? "wrong_code" : "wrong_old_password");
    this.submit = () => this.try("/api/v1/password",
      first ? { code: code[1].value.trim(), user: user[1].value, password: password[1].value }
        : { current: old[1].value, password: password[1].value },
      enter);
  }
}
