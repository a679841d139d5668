const FIRST_S = 2;
const LONGEST_S = 120;

/** Return how long to wait before the next attempt: what the service asked for, or twice as long each time. */
export function delayS(problem, attempts) {
  if (problem.retryAfterS !== null) return Math.max(1, problem.retryAfterS);
  return Math.min(LONGEST_S, FIRST_S * 2 ** Math.max(0, attempts - 1)) * (0.75 + Math.random() / 2);
}

/** After so many attempts without an answer, the fault is not the network's. */
export const MAX_LOST = 6;
