// Two tabs must not send the same recording. On plain HTTP the browser has no locks, and each tab claims everything.

/** Run `work` while this tab has the recording. Resolves to false if another tab has it. */
export async function withClaim(id, work) {
  if (!navigator.locks) {
    await work();
    return true;
  }
  return navigator.locks.request(`asr-recording-${id}`, { ifAvailable: true }, async (lock) => {
    if (lock) await work();
    return lock !== null;
  });
}
