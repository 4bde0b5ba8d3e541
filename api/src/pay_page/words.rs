//! The texts of the customer's pages, in Uzbek, Russian and English.

use domain::order::{Language, Order, OrderStatus};
use store::settlement::MAX_LINKS;

/// A payment link usually comes within a second; after this time the customer is told that it takes longer.
const LINK_DELAYED_MS: i64 = 30_000;

/// The situation of an order, as its customer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Situation {
    /// The customer chooses the gateway.
    Choosing,
    /// As [`Situation::Choosing`], after a form that names no gateway of this shop.
    NotOffered,
    /// The customer would choose, and no gateway is available.
    NothingAvailable,
    /// The customer wanted to choose another gateway, which is not possible.
    ChoiceIsOver,
    /// The gateway's payment page is being made.
    MakingLink,
    /// It takes so long that the gateway must be unavailable.
    LinkDelayed,
    /// The payment page exists, and the order can be paid.
    Open,
    /// The customer came back from the payment page; the outcome is not known yet.
    Checking,
    /// The customer came back, and the gateway reports no payment.
    Unpaid,
    /// The gateway asked and was allowed to debit, but some seconds later no money has moved. Its page may be open for
    /// another try.
    Declined,
    /// Like [`Situation::Declined`], but its page is closed. Another one follows once no debit can come from the first.
    Closed,
    /// No page took money, and another one is being made.
    MakingAnotherLink,
    /// All pages that the order may have are closed and unpaid.
    NoMoreLinks,
    /// The time to pay is over, and it is not known yet whether money moved.
    Late,
    /// The gateway asked and was allowed to debit; the outcome is being confirmed.
    Confirming,
    /// The order is paid.
    Paid,
    /// The money was returned.
    Refunded,
    /// The order was not paid in time.
    Expired,
    /// The order was canceled.
    Canceled,
    /// The payment page could not be made.
    Failed,
    /// A person checks the payment.
    Review,
    /// The page does not exist.
    Unknown,
    /// The database does not answer.
    Unavailable,
}

/// The texts of one situation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// In a few words.
    pub(crate) headline: &'static str,
    /// The customer's next step, or that there is none.
    pub(crate) explanation: &'static str,
}

impl Situation {
    /// The situation of an order at this time.
    pub(crate) fn of(order: &Order, now_ms: i64) -> Self {
        let is_late = order.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms);
        let is_seen_unpaid = order.seen_unpaid().is_some();
        match order.status {
            OrderStatus::Pending if is_late => Situation::Late,
            OrderStatus::Pending if order.account.is_none() => Situation::Choosing,
            OrderStatus::Pending if order.payment_url.is_none() => match is_seen_unpaid {
                true => Situation::MakingAnotherLink,
                false if order.pending_since_ms + LINK_DELAYED_MS <= now_ms => Situation::LinkDelayed,
                false => Situation::MakingLink,
            },
            OrderStatus::Pending if order.shows_page_closed() => Situation::NoMoreLinks,
            OrderStatus::Pending => Situation::Open,
            OrderStatus::Confirming if !is_seen_unpaid => Situation::Confirming,
            OrderStatus::Confirming if is_late => Situation::Late,
            OrderStatus::Confirming if order.can_be_paid_at(now_ms) => Situation::Declined,
            OrderStatus::Confirming if !order.shows_page_closed() => Situation::Confirming,
            OrderStatus::Confirming if order.links_made < MAX_LINKS => Situation::Closed,
            OrderStatus::Confirming => Situation::NoMoreLinks,
            OrderStatus::Paid => Situation::Paid,
            OrderStatus::Refunded => Situation::Refunded,
            OrderStatus::Expired => Situation::Expired,
            OrderStatus::Canceled => Situation::Canceled,
            OrderStatus::Failed => Situation::Failed,
            OrderStatus::Review => Situation::Review,
        }
    }

    /// The page's colour.
    pub(crate) fn tone(self) -> &'static str {
        match self {
            Situation::Paid => "good",
            Situation::MakingLink
            | Situation::MakingAnotherLink
            | Situation::Open
            | Situation::Checking
            | Situation::Confirming => "busy",
            Situation::Choosing | Situation::NotOffered => "choose",
            Situation::NothingAvailable
            | Situation::ChoiceIsOver
            | Situation::LinkDelayed
            | Situation::Late
            | Situation::Review
            | Situation::Closed => "calm",
            Situation::Unpaid | Situation::Declined => "open",
            Situation::Refunded => "done",
            Situation::Expired | Situation::Canceled | Situation::Failed | Situation::NoMoreLinks => "bad",
            Situation::Unknown | Situation::Unavailable => "bad",
        }
    }

    /// The texts in that language.
    pub(crate) fn words(self, language: Language) -> Words {
        let (headline, explanation) = match language {
            Language::Uz => self.uzbek(),
            Language::Ru => self.russian(),
            Language::En => self.english(),
        };
        Words { headline, explanation }
    }

    fn uzbek(self) -> (&'static str, &'static str) {
        match self {
            Situation::Choosing => {
                ("Toʻlov usulini tanlang", "Tanlaganingizdan soʻng oʻsha tizimning toʻlov sahifasi ochiladi.")
            }
            Situation::NotOffered => {
                ("Toʻlov usulini tanlang", "Bu yerda bunday toʻlov usuli yoʻq. Quyidagilardan birini tanlang.")
            }
            Situation::NothingAvailable => (
                "Hozircha toʻlab boʻlmaydi",
                "Toʻlov tizimlari hozir javob bermayapti. Buyurtmangiz saqlangan, sahifa oʻzi yangilanadi.",
            ),
            Situation::ChoiceIsOver => (
                "Toʻlov usulini hozir oʻzgartirib boʻlmaydi",
                "Toʻlov boshlangan boʻlishi mumkin yoki usul juda koʻp marta oʻzgartirilgan. Tanlangan usulda davom eting yoki \
                 birozdan soʻng qaytib keling.",
            ),
            Situation::MakingLink => (
                "Toʻlov sahifasi tayyorlanmoqda",
                "Odatda bu bir necha soniya davom etadi. Sahifa oʻzi ochiladi, uni yopmang.",
            ),
            Situation::Open | Situation::Checking => {
                ("Toʻlovingiz tekshirilmoqda", "Toʻlov tizimidan tasdiq kutilmoqda. Sahifa oʻzi yangilanadi.")
            }
            Situation::LinkDelayed => (
                "Toʻlov tizimi hozir javob bermayapti",
                "Pul yechilmagan. Biz qayta urinmoqdamiz: tizim javob berishi bilan toʻlov sahifasi oʻzi ochiladi. Bu yerga \
                 keyinroq ham qaytishingiz mumkin.",
            ),
            Situation::Unpaid => (
                "Buyurtma hali toʻlanmagan",
                "Toʻlov tizimi maʼlumotiga koʻra, pul yechilmagan. Toʻlov sahifasida toʻlashingiz mumkin.",
            ),
            Situation::Declined => (
                "Toʻlov hozircha oʻtmadi",
                "Toʻlov tizimi maʼlumotiga koʻra, pul yechilmagan. Toʻlov sahifasiga qaytib, yana urinib koʻring, boshqa \
                 karta bilan ham boʻladi. Bankingiz pul yechilganini bildirgan boʻlsa, kuting: sahifa oʻzi yangilanadi.",
            ),
            Situation::Closed => (
                "Toʻlov amalga oshmadi",
                "Toʻlov tizimi maʼlumotiga koʻra, pul yechilmagan. Avvalgi toʻlov sahifasi yopilgan. Pul ikki marta \
                 yechilmasligi uchun yangisi oxirgi urinishdan uch daqiqa oʻtib shu yerda oʻzi paydo boʻladi.",
            ),
            Situation::MakingAnotherLink => (
                "Yangi toʻlov sahifasi tayyorlanmoqda",
                "Toʻlov tizimi maʼlumotiga koʻra, pul yechilmagan. Yangi sahifa odatda bir necha soniyada tayyor boʻladi.",
            ),
            Situation::NoMoreLinks => (
                "Toʻlov amalga oshmadi",
                "Toʻlov tizimi maʼlumotiga koʻra, pul yechilmagan. Bu buyurtmani endi toʻlab boʻlmaydi. Agar u hali kerak \
                 boʻlsa, doʻkonda qaytadan buyurtma bering.",
            ),
            Situation::Late => (
                "Toʻlov vaqti tugadi",
                "Iltimos, bu buyurtma uchun endi toʻlamang. Kartangizdan pul yechilmaganini tekshirmoqdamiz.",
            ),
            Situation::Confirming => (
                "Toʻlov tasdiqlanmoqda",
                "Toʻlov tizimining yakuniy javobi kutilmoqda. Qayta toʻlamang, sahifa oʻzi yangilanadi.",
            ),
            Situation::Paid => ("Toʻlov qabul qilindi", "Rahmat! Buyurtmangiz toʻlandi."),
            Situation::Refunded => (
                "Pul qaytarildi",
                "Toʻlov summasi kartangizga qaytarildi. Pul hisobingizga tushguncha biroz vaqt oʻtishi mumkin.",
            ),
            Situation::Expired => (
                "Toʻlov muddati tugadi",
                "Bu buyurtma toʻlanmadi. Agar u hali kerak boʻlsa, doʻkonda qaytadan buyurtma bering.",
            ),
            Situation::Canceled => ("Buyurtma bekor qilindi", "Bu buyurtma uchun endi toʻlov qilib boʻlmaydi."),
            Situation::Failed => (
                "Toʻlov sahifasini ochib boʻlmadi",
                "Kartangizdan pul yechilmadi. Doʻkonga murojaat qiling yoki qaytadan buyurtma bering.",
            ),
            Situation::Review => {
                ("Toʻlovingizni mutaxassis tekshirmoqda", "Qayta toʻlamang. Natija haqida doʻkon sizga xabar beradi.")
            }
            Situation::Unknown => {
                ("Sahifa topilmadi", "Havola toʻliq nusxalanganini tekshiring yoki doʻkonga murojaat qiling.")
            }
            Situation::Unavailable => (
                "Sahifani hozir koʻrsatib boʻlmayapti",
                "Buyurtmangiz saqlangan. Sahifa bir necha soniyadan soʻng oʻzi yangilanadi.",
            ),
        }
    }

    fn russian(self) -> (&'static str, &'static str) {
        match self {
            Situation::Choosing => ("Выберите способ оплаты", "После выбора откроется страница оплаты этой системы."),
            Situation::NotOffered => {
                ("Выберите способ оплаты", "Такого способа оплаты здесь нет. Выберите один из этих.")
            }
            Situation::NothingAvailable => (
                "Сейчас оплатить не получится",
                "Платёжные системы сейчас не отвечают. Ваш заказ сохранён, страница обновится сама.",
            ),
            Situation::ChoiceIsOver => (
                "Сейчас способ оплаты изменить нельзя",
                "Возможно, оплата уже начата, или способ меняли слишком часто. Продолжите выбранным способом или вернитесь сюда \
                 чуть позже.",
            ),
            Situation::MakingLink => (
                "Готовим страницу оплаты",
                "Обычно это занимает несколько секунд. Страница откроется сама, не закрывайте её.",
            ),
            Situation::Open | Situation::Checking => {
                ("Проверяем оплату", "Ждём подтверждения от платёжной системы. Страница обновится сама.")
            }
            Situation::LinkDelayed => (
                "Платёжная система сейчас не отвечает",
                "Деньги не списаны. Мы пробуем снова: как только она ответит, страница оплаты откроется сама. Вернуться сюда \
                 можно и позже.",
            ),
            Situation::Unpaid => (
                "Заказ ещё не оплачен",
                "По данным платёжной системы, деньги не списаны. Оплатить заказ можно на странице оплаты.",
            ),
            Situation::Declined => (
                "Платёж пока не прошёл",
                "По данным платёжной системы, деньги не списаны. Вернитесь на страницу оплаты и попробуйте ещё раз, можно \
                 и с другой картой. Если банк сообщил о списании, подождите: страница обновится сама.",
            ),
            Situation::Closed => (
                "Платёж не состоялся",
                "По данным платёжной системы, деньги не списаны. Прежняя страница оплаты закрыта. Чтобы деньги не списались \
                 дважды, новая появится здесь сама через три минуты после последней попытки.",
            ),
            Situation::MakingAnotherLink => (
                "Готовим новую страницу оплаты",
                "По данным платёжной системы, деньги не списаны. Новая страница обычно готова через несколько секунд.",
            ),
            Situation::NoMoreLinks => (
                "Платёж не состоялся",
                "По данным платёжной системы, деньги не списаны. Оплатить этот заказ больше нельзя. Если он ещё нужен, \
                 оформите его в магазине заново.",
            ),
            Situation::Late => (
                "Время оплаты истекло",
                "Пожалуйста, больше не платите по этому заказу. Мы проверяем, что деньги не списаны.",
            ),
            Situation::Confirming => (
                "Платёж подтверждается",
                "Ждём окончательного ответа платёжной системы. Не платите повторно, страница обновится сама.",
            ),
            Situation::Paid => ("Оплата прошла", "Спасибо! Ваш заказ оплачен."),
            Situation::Refunded => (
                "Деньги возвращены",
                "Сумма возвращена на вашу карту. Банку может понадобиться время, чтобы её зачислить.",
            ),
            Situation::Expired => {
                ("Срок оплаты истёк", "Этот заказ не оплачен. Если он ещё нужен, оформите его в магазине заново.")
            }
            Situation::Canceled => ("Заказ отменён", "Оплатить этот заказ больше нельзя."),
            Situation::Failed => (
                "Не удалось открыть страницу оплаты",
                "Деньги не списаны. Обратитесь в магазин или оформите заказ ещё раз.",
            ),
            Situation::Review => {
                ("Ваш платёж проверяет специалист", "Не платите повторно. О результате вам сообщит магазин.")
            }
            Situation::Unknown => {
                ("Страница не найдена", "Проверьте, что ссылка скопирована полностью, или обратитесь в магазин.")
            }
            Situation::Unavailable => (
                "Сейчас страницу показать не удаётся",
                "Ваш заказ сохранён. Страница обновится сама через несколько секунд.",
            ),
        }
    }

    fn english(self) -> (&'static str, &'static str) {
        match self {
            Situation::Choosing => ("Choose how to pay", "The payment page of that system opens after your choice."),
            Situation::NotOffered => ("Choose how to pay", "This way to pay is not offered here. Choose one of these."),
            Situation::NothingAvailable => (
                "Paying is not possible right now",
                "The payment systems are not answering at the moment. Your order is safe, and this page updates by itself.",
            ),
            Situation::ChoiceIsOver => (
                "The way to pay cannot be changed now",
                "A payment may have begun, or the way was changed too often. Go on in the chosen way, or come back a little \
                 later.",
            ),
            Situation::MakingLink => (
                "Preparing the payment page",
                "This usually takes a few seconds. The page opens by itself; please leave it open.",
            ),
            Situation::Open | Situation::Checking => {
                ("Checking your payment", "Waiting for the payment system to confirm it. This page updates by itself.")
            }
            Situation::LinkDelayed => (
                "The payment system is not answering right now",
                "No money has been taken. We keep trying: the payment page opens by itself as soon as there is an answer. You \
                 can also come back here later.",
            ),
            Situation::Unpaid => (
                "Not paid yet",
                "As far as the payment system knows, no money has been taken. You can pay on the payment page.",
            ),
            Situation::Declined => (
                "The payment has not gone through",
                "As far as the payment system knows, no money has been taken. Go back to the payment page to try again, also \
                 with another card. If your bank shows a debit, please wait: this page updates by itself.",
            ),
            Situation::Closed => (
                "The payment was not made",
                "As far as the payment system knows, no money has been taken. That payment page is closed. To be sure that \
                 nothing is taken twice, a new one appears here by itself three minutes after the last try.",
            ),
            Situation::MakingAnotherLink => (
                "Preparing another payment page",
                "As far as the payment system knows, no money has been taken. The new page usually takes a few seconds.",
            ),
            Situation::NoMoreLinks => (
                "The payment was not made",
                "As far as the payment system knows, no money has been taken. This order can no longer be paid. If you still \
                 need it, please order again in the shop.",
            ),
            Situation::Late => (
                "The time to pay is over",
                "Please do not pay for this order any more. We are making sure that no money has been taken.",
            ),
            Situation::Confirming => (
                "Your payment is being confirmed",
                "Waiting for the payment system's final answer. Do not pay again; this page updates by itself.",
            ),
            Situation::Paid => ("Payment received", "Thank you! Your order is paid."),
            Situation::Refunded => (
                "The money was returned",
                "The amount went back to your card. Your bank may need some time to show it.",
            ),
            Situation::Expired => (
                "The time to pay is over",
                "This order was not paid. If you still need it, please order again in the shop.",
            ),
            Situation::Canceled => ("The order was canceled", "This order can no longer be paid."),
            Situation::Failed => (
                "The payment page could not be opened",
                "No money was taken. Please ask the shop, or place the order again.",
            ),
            Situation::Review => {
                ("A specialist is checking your payment", "Please do not pay again. The shop will tell you the result.")
            }
            Situation::Unknown => ("Page not found", "Check that the whole address was copied, or ask the shop."),
            Situation::Unavailable => (
                "This page cannot be shown right now",
                "Your order is safe. The page tries again by itself in a few seconds.",
            ),
        }
    }
}
