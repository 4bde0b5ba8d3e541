//! What a person may do about an order that waits for one.

use crate::named_values::named_values;

named_values! {
    /// What a person who looks at an order may do about it. Names are stable; [`SuggestedAct::sentence`] says it in full.
    SuggestedAct {
        /// The debit's amount, account or store is not the order's.
        CompareDebit = "compare_debit",
        /// Money came a second time.
        ReturnSecondPayment = "return_second_payment",
        /// Money came after the order had ended.
        ReturnLatePayment = "return_late_payment",
        /// The gateway says nothing that can be understood.
        AskGateway = "ask_gateway",
        /// A job died.
        MendJob = "mend_job",
        /// Nobody can ask the gateway that has the order's money.
        ConfigureGateway = "configure_gateway",
        /// Nobody knows whether a refund was made.
        CheckRefund = "check_refund",
        /// The order is refunded, and the gateway shows that the money is still there.
        ReturnPayment = "return_payment",
    }
}

impl SuggestedAct {
    /// What to do, for whoever has the order.
    pub fn sentence(self) -> &'static str {
        match self {
            SuggestedAct::CompareDebit => {
                "compare the debit in the gateway's cabinet with the order; if it is enough, resolve the order as paid by that \
                 transaction; else give the money back in the cabinet and resolve it as refunded"
            }
            SuggestedAct::ReturnSecondPayment => {
                "give the second payment back in the gateway's cabinet, then resolve the order with the status it has"
            }
            SuggestedAct::ReturnLatePayment => {
                "give the money back in the gateway's cabinet and resolve the order as refunded; or, if it can still be \
                 delivered, resolve it as paid by that transaction"
            }
            SuggestedAct::AskGateway => {
                "look the transaction up in the gateway's cabinet, or ask the gateway's support; resolve the order as paid by \
                 it if the money came, as canceled if none did, and as refunded if it went back"
            }
            SuggestedAct::MendJob => {
                "look with `jobs show` what the job died of, and mend it; reconcile the order to hear where its money is; then \
                 resolve it as paid if it was debited, and as canceled if not"
            }
            SuggestedAct::ConfigureGateway => {
                "configure the order's gateway again and reconcile the order, or look its money up in that gateway's cabinet; \
                 then resolve it as paid if it was debited, and as canceled if not"
            }
            SuggestedAct::ReturnPayment => {
                "give the payment back in the gateway's cabinet, if that was not done by other means; then resolve the order \
                 as refunded"
            }
            SuggestedAct::CheckRefund => {
                "look in the gateway's cabinet whether the money went back; resolve the order as refunded if it did, and as \
                 paid if it did not"
            }
        }
    }
}
