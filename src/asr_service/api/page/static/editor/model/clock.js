// Times as people read them.

/** Return a time as `1:02` or `1:01:02`; with `digits`, with decimals. */
export function clock(seconds, digits = 0) {
  const whole = Math.max(0, digits ? seconds : Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
