//! Whether the callbacks that woke an inquiry still prove themselves.

use domain::id::CallbackId;
use domain::job::Lease;
use domain::order::{GatewayIdentity, Order, PaymentType};
use domain::transaction::CallbackFault;
use futures_util::future::try_join_all;
use gateway::Gateways;
use store::callbacks::{self, KeptBody};
use store::{Store, StoreError, jobs};
use tracing::{error, warn};

use crate::WorkerContext;
use crate::metrics;

/// A callback that woke the inquiry, or why its row cannot be read. `None` if retention has deleted the row.
pub(super) type Woke = Result<Option<KeptBody>, (CallbackId, StoreError)>;

/// Reads the callbacks of these numbers. [`check_all`] reports a row that cannot be read.
///
/// # Errors
/// [`StoreError`] when the database cannot be asked now.
pub(super) async fn read(store: &Store, woken_by: &[i64]) -> Result<Vec<Woke>, StoreError> {
    let one = async |id| match callbacks::find(store, id).await {
        Err(trouble) if trouble.is_passing() => Err(trouble),
        found => Ok(found.map_err(|trouble| (id, trouble))),
    };
    try_join_all(woken_by.iter().map(|id| one(CallbackId(*id)))).await
}

/// Checks the callbacks that woke the order's inquiry. Once an invalid one was logged, the list is emptied: an inquiry that is
/// tried again for days must not log it each time.
pub(super) async fn check_all(context: &WorkerContext, lease: &Lease, order: &Order, woken_by: &[Woke]) {
    let mut all_prove = true;
    for woke in woken_by {
        all_prove &= match woke {
            Ok(None) => true,
            Ok(Some(callback)) => check_again(context, callback),
            Err((id, trouble)) => {
                warn!(callback.id = %id, error = %trouble, "callback {id} cannot be read and is not checked: {trouble}");
                // Its row does not say which gateway sent it: as a rule the order's own.
                let payment_type = order.account.as_ref().map_or(PaymentType::Atmos, |account| account.payment_type);
                metrics::count_unproven_callback(payment_type);
                false
            }
        };
    }
    if !all_prove && let Err(trouble) = jobs::forget_woken_by(&context.store, lease).await {
        warn!(error = %trouble, "the unproven callbacks of this job are logged again if this run fails");
    }
}

/// Checks the signature of a stored callback again, as its own gateway signs; returns whether it is still valid. An invalid
/// one is logged and counted, and decides nothing: only the gateway's own answer decides.
pub(crate) fn check_again(context: &WorkerContext, callback: &KeptBody) -> bool {
    let (payment_type, Some(fault)) = fault(&context.gateways, callback) else { return true };
    // It was valid when it came. Its key was rotated away since, or the row was changed: a person must know.
    let (id, order_id) = (callback.id, callback.order_id.map(|id| id.to_string()));
    error!(callback.id = %id, order.id = order_id, error = %fault, "callback {id} no longer proves itself: {fault}");
    metrics::count_unproven_callback(payment_type);
    false
}

/// The gateway of a stored callback, and what is wrong with its body there.
fn fault(gateways: &Gateways, callback: &KeptBody) -> (PaymentType, Option<CallbackFault>) {
    // A release that knew Atmos alone names no gateway.
    let named = callback.gateway.as_ref().map_or(Some(PaymentType::Atmos), GatewayIdentity::payment_type);
    let Some(payment_type) = named else { return (PaymentType::Atmos, None) }; // one of a newer release
    let body = callback.body.as_bytes();
    let fault = match payment_type {
        PaymentType::Atmos => gateways.read_atmos_callback(body).err(),
        PaymentType::Click => gateways.read_click_call(body).err().and_then(|(fault, _)| fault.callback_fault()),
        // Its key came in a header, which is not kept: nothing in the body can be checked.
        PaymentType::Payme => None,
    };
    (payment_type, fault)
}

#[cfg(test)]
mod tests {
    use domain::id::TransactionId;
    use gateway::AccountSettings;

    use super::*;

    /// A Prepare with the signature of the sandbox's service.
    const CLICK: &str = "click_trans_id=13&service_id=22222&click_paydoc_id=998877&merchant_trans_id=7&amount=50.00&action=0&error=0&error_note=Success&sign_time=2026-08-22+14%3A03%3A11&sign_string=8da6f856a74a61fdbc00236b2986c1bd";

    const PAYME: &str = r#"{"method":"CheckTransaction","params":{"id":"65f1f0c2b7e8d9034f5a6b7c"},"id":1}"#;

    #[tokio::test]
    async fn a_stored_callback_is_checked_as_its_own_gateway_signs() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = [
            AccountSettings::Atmos(config::defaults().unwrap()),
            AccountSettings::Payme(config::defaults().unwrap()),
            AccountSettings::Click(config::defaults().unwrap()),
        ];
        let gateways =
            Gateways::new(settings.iter().map(|account| account.gateway(account.coordination(None, false)).unwrap()));
        let atmos = gateways.iter().find_map(|gateway| gateway.as_atmos()).unwrap();
        let of_atmos = atmos.sign_callback(TransactionId(5), "7", 5_000);
        let fault = |account: Option<&AccountSettings>, body: &str| {
            let gateway = account.map(AccountSettings::identity);
            fault(&gateways, &KeptBody { id: CallbackId(1), order_id: None, gateway, body: body.to_owned() })
        };

        let [atmos, payme, click] = &settings;
        for (account, body) in
            [(None, of_atmos.as_str()), (Some(atmos), &of_atmos), (Some(click), CLICK), (Some(payme), PAYME)]
        {
            let payment_type = account.map_or(PaymentType::Atmos, AccountSettings::payment_type);
            assert_eq!(fault(account, body), (payment_type, None), "{body}");
        }
        let altered = CLICK.replace("amount=50.00", "amount=5.00");
        for (account, body) in [(Some(click), altered.as_str()), (Some(click), &of_atmos), (Some(atmos), CLICK)] {
            let (payment_type, fault) = fault(account, body);
            assert_eq!(payment_type, account.map_or(PaymentType::Atmos, AccountSettings::payment_type), "{body}");
            assert!(fault.is_some(), "{body}");
        }
    }
}
