"""The deliveries of webhooks in Redis."""

from collections.abc import Sequence

from asr_service.jobs.records import Delivery
from asr_service.jobs.stores.redis.database import Database
from asr_service.jobs.stores.redis.records import delivery_of, key_of


class DeliveryOperations(Database):
    def deliveries(self, job_id: str) -> Sequence[Delivery]:
        answers = self._run("deliveries", "of_job", id=job_id)
        return [found for each in answers if each and (found := delivery_of(each)) is not None]

    def claim_delivery(self, now: float, lease_s: float) -> Delivery | None:
        answer = self._run("deliveries", "claim", now=now, lease_until=now + lease_s)
        if not answer:
            return None
        delivery = delivery_of(answer)
        if delivery is None:
            self._run("deliveries", "drop", id=key_of(answer))
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
        return bool(
            self._run(
                "deliveries",
                "end_attempt",
                id=claimed.id,
                attempts=claimed.attempts,
                due_at=due_at,
                delivered_at=delivered_at,
                status=status,
                error=error,
            )
        )

    def postpone_attempt(self, claimed: Delivery, due_at: float) -> bool:
        return bool(self._run("deliveries", "postpone", id=claimed.id, attempts=claimed.attempts, due_at=due_at))
