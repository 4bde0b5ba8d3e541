//! Times as a customer reads them, by the clocks of Uzbekistan.

use domain::order::Language;
use domain::time::TashkentTime;

/// The months after a day, from January on.
const UZBEK: [&str; 12] =
    ["yanvar", "fevral", "mart", "aprel", "may", "iyun", "iyul", "avgust", "sentabr", "oktabr", "noyabr", "dekabr"];
const RUSSIAN: [&str; 12] = [
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
];
const ENGLISH: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The time until which a customer may act, in epoch milliseconds: `14:35`, with the date where that is another day than now.
pub(super) fn written_deadline(language: Language, until_ms: i64, now_ms: i64) -> Option<String> {
    let until = TashkentTime::of(until_ms)?;
    let is_today = TashkentTime::of(now_ms).is_some_and(|now| now.is_on_day_of(until));
    Some(if is_today { clock(until) } else { format!("{}, {}", day(language, until)?, clock(until)) })
}

/// A time on a receipt, in epoch milliseconds: the day with its year, the time, and whose time that is.
pub(super) fn written_moment(language: Language, at_ms: i64) -> Option<String> {
    let at = TashkentTime::of(at_ms)?;
    let (day, clock, year) = (day(language, at)?, clock(at), at.year);
    Some(match language {
        Language::Uz => format!("{year}-yil {day}, {clock} (Toshkent vaqti)"),
        Language::Ru => format!("{day} {year} г., {clock} (по Ташкенту)"),
        Language::En => format!("{day} {year}, {clock} (Tashkent time)"),
    })
}

fn day(language: Language, at: TashkentTime) -> Option<String> {
    let (months, joint) = match language {
        Language::Uz => (UZBEK, '-'),
        Language::Ru => (RUSSIAN, '\u{a0}'),
        Language::En => (ENGLISH, '\u{a0}'),
    };
    let month = months.get(usize::from(at.month).checked_sub(1)?)?;
    Some(format!("{}{joint}{month}", at.day))
}

fn clock(at: TashkentTime) -> String {
    format!("{:02}:{:02}", at.hour, at.minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-12-31 23:59 in Tashkent.
    const EVENING_MS: i64 = 1_798_743_540_000;

    #[test]
    fn a_deadline_names_its_day_only_if_that_is_not_today() {
        let until = |language, minutes: i64| {
            written_deadline(language, EVENING_MS + 60_000 * minutes, EVENING_MS)
                .map(|text| text.replace('\u{a0}', " "))
        };

        assert_eq!(until(Language::En, 0).as_deref(), Some("23:59"));
        assert_eq!(until(Language::Uz, 6).as_deref(), Some("1-yanvar, 00:05"));
        assert_eq!(until(Language::Ru, 6).as_deref(), Some("1 января, 00:05"));
        assert_eq!(until(Language::En, 6).as_deref(), Some("1 January, 00:05"));
    }

    #[test]
    fn a_receipt_has_the_whole_day_in_each_language() {
        for (language, text) in [
            (Language::Uz, "2026-yil 31-dekabr, 23:59 (Toshkent vaqti)"),
            (Language::Ru, "31 декабря 2026 г., 23:59 (по Ташкенту)"),
            (Language::En, "31 December 2026, 23:59 (Tashkent time)"),
        ] {
            assert_eq!(written_moment(language, EVENING_MS).unwrap().replace('\u{a0}', " "), text);
        }
        assert_eq!(written_moment(Language::En, i64::MAX), None);
    }
}
