// Durations, sizes, dates and names of languages as people read them.

import { formatLocale, t } from "./i18n.js";

/** 75 -> "1:15", 3675 -> "1:01:15". */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A duration or a place as exact as it is given: "0.13 sec", "12.5 sec", "1:02:03". */
export function exactly(seconds) {
  if (seconds >= 60) return clock(seconds);
  return new Intl.NumberFormat(formatLocale(), { style: "unit", unit: "second", unitDisplay: "short", maximumFractionDigits: 2 }).format(seconds);
}

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

export function bytes(count) {
  const step = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(count, 1)) / 3)));
  const value = count / 1000 ** step;
  const style = { style: "unit", unit: UNITS[step], unitDisplay: "short", maximumFractionDigits: value < 10 && step ? 1 : 0 };
  return new Intl.NumberFormat(formatLocale(), style).format(value).replace(" ", "\u00a0");
}

/** A duration in words, as coarse as it is certain: "20 seconds", "about 2 minutes", "about 3 hours". */
export function roughly(seconds) {
  if (seconds < 5) return t("time.seconds", { count: Math.max(1, Math.ceil(seconds)) });
  if (seconds < 55) return t("time.seconds", { count: Math.ceil(seconds / 5) * 5 });
  if (seconds < 55 * 60) return t("time.minutes", { count: Math.round(seconds / 60) });
  return t("time.hours", { count: Math.round(seconds / 3600) });
}

/** Minutes and seconds in words, for screen readers. */
export function spoken(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), Math.floor(seconds % 60)];
  const short = t("time.exact_seconds", { count: rest });
  return minutes ? `${t("time.exact_minutes", { count: minutes })} ${short}` : short;
}

export function percent(share) {
  return new Intl.NumberFormat(formatLocale(), { style: "percent" }).format(share);
}

/** A time of today as 14:05, any other as a date. */
export function when(milliseconds) {
  const date = new Date(milliseconds);
  const isToday = date.toDateString() === new Date().toDateString();
  const style = isToday ? { hour: "numeric", minute: "2-digit" } : { dateStyle: "medium" };
  return new Intl.DateTimeFormat(formatLocale(), style).format(date);
}

/** The name of a language in the language of the page, or `fallback`. */
export function languageName(code, fallback = code) {
  try {
    return new Intl.DisplayNames(formatLocale(), { type: "language", fallback: "none" }).of(code) ?? fallback;
  } catch {
    return fallback;
  }
}
