"""The deliveries of webhooks in SQLite."""

from collections.abc import Sequence

from asr_service.jobs.records import Delivery
from asr_service.jobs.stores.sqlite.database import Database
from asr_service.jobs.stores.sqlite.rows import delivery_of, has_changed


class DeliveryOperations(Database):
    def deliveries(self, job_id: str) -> Sequence[Delivery]:
        with self._reading() as db:
            rows = db.execute("SELECT * FROM deliveries WHERE job_id = ? ORDER BY created_at, id", (job_id,))
            return [found for row in rows if (found := delivery_of(row)) is not None]

    def claim_delivery(self, now: float, lease_s: float) -> Delivery | None:
        given = {"now": now, "until": now + lease_s}
        with self._reading() as db:  # most calls find nothing, and a reader does not lock the file
            if db.execute("SELECT 1 FROM deliveries WHERE due_at <= :now LIMIT 1", given).fetchone() is None:
                return None
        with self._transaction() as db:
            found = db.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due_at = :until WHERE id = "
                "(SELECT id FROM deliveries WHERE due_at <= :now ORDER BY due_at LIMIT 1) RETURNING *",
                given,
            ).fetchone()
            if found is None:
                return None
            delivery = delivery_of(found)
            if delivery is None:  # it is never sent
                db.execute("UPDATE deliveries SET due_at = NULL WHERE id = ?", (found["id"],))
            return delivery

    def end_attempt(
        self,
        claimed: Delivery,
        *,
        due_at: float | None,
        delivered_at: float | None,
        status: int | None,
        error: str | None,
    ) -> bool:
        with self._transaction() as db:
            return has_changed(
                db.execute(
                    "UPDATE deliveries SET due_at = ?, delivered_at = ?, last_status = ?, last_error = ? "
                    "WHERE id = ? AND attempts = ? AND due_at IS NOT NULL",
                    (due_at, delivered_at, status, error, claimed.id, claimed.attempts),
                )
            )

    def postpone_attempt(self, claimed: Delivery, due_at: float) -> bool:
        with self._transaction() as db:
            return has_changed(
                db.execute(
                    "UPDATE deliveries SET attempts = attempts - 1, due_at = ? "
                    "WHERE id = ? AND attempts = ? AND due_at IS NOT NULL",
                    (due_at, claimed.id, claimed.attempts),
                )
            )
