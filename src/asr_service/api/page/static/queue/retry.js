const FIRST_S = 2;
const LONGEST_S = 120;
/** Each attempt of a busy service costs an upload. */
const LONGEST_BUSY_S = 30;

/** Return how long to wait before the next attempt: twice as long each time, and never less than the service asked for. */
export function delayS(problem, attempts) {
  const longer = FIRST_S * 2 ** Math.max(0, attempts - 1);
  if (problem.retryAfterS !== null) return Math.max(problem.retryAfterS, Math.min(LONGEST_BUSY_S, longer));
  return Math.min(LONGEST_S, longer) * (0.75 + Math.random() / 2);
}

/** After so many attempts without an answer, the fault is not the network's. */
export const MAX_LOST = 6;
