//! Acts that are suggested to a person who has an order in review.

use crate::named_values::named_values;

named_values! {
    /// A suggested act for a person who has an order in review. Names are stable; [`SuggestedAct::sentence`] is the
    /// full text.
    SuggestedAct {
        /// The debit's amount, account or store is not the order's.
        CompareDebit = "compare_debit",
        /// Money came a second time.
        ReturnSecondPayment = "return_second_payment",
        /// Money came after the order had ended.
        ReturnLatePayment = "return_late_payment",
        /// The gateway's answer cannot be understood.
        AskGateway = "ask_gateway",
        /// A job died.
        MendJob = "mend_job",
        /// No process is configured for the gateway that has the order's money.
        ConfigureGateway = "configure_gateway",
        /// It is unknown whether a refund was made.
        CheckRefund = "check_refund",
        /// The order is refunded, and the gateway still shows the money there.
        ReturnPayment = "return_payment",
    }
}

impl SuggestedAct {
    /// The next step, in a sentence for the person who has the order.
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
