//! Dead letters that nobody has to look at any more.

use sqlx::AssertSqlSafe;

use crate::id::OrderId;
use crate::job::JobKind;
use crate::store::{StoreError, Write};

/// Calls off the dead letters of an order's refunds: what became of them is known.
pub(in crate::store) async fn cancel_dead_refunds(write: &mut Write, order_id: OrderId) -> Result<(), StoreError> {
    sqlx::query(
        "-- cancel_dead_refunds
        update jobs set state = 'canceled', finished_at_ms = $2
        where kind = 'refund_order' and subject_id in (select id from refunds where order_id = $1) and state = 'dead'",
    )
    .bind(order_id.0)
    .bind(write.now_ms())
    .execute(write.transaction())
    .await?;
    Ok(())
}

/// Calls off what died of an order that a person has settled: nobody has to look at it any more. That of its payment link
/// stays where the order may be retried by it.
pub(in crate::store) async fn cancel_dead_letters(
    write: &mut Write,
    order_id: OrderId,
    with_link: bool,
) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    for (kind, subjects) in [
        ("settle_order", "= $1"),
        ("create_payment_link", "= $1"),
        ("process_callback", "in (select id from callbacks where order_id = $1)"),
    ] {
        if kind == JobKind::CreatePaymentLink.as_str() && !with_link {
            continue;
        }
        let sql = format!(
            "-- cancel_dead_letters
            update jobs set state = 'canceled', finished_at_ms = $2
            where kind = '{kind}' and subject_id {subjects} and state = 'dead'"
        );
        sqlx::query(AssertSqlSafe(sql)).bind(order_id.0).bind(now_ms).execute(write.transaction()).await?;
    }
    cancel_dead_refunds(write, order_id).await
}
