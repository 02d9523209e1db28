//! The text of timestamps, written in one form and read in many.

use std::{fmt, str::FromStr};

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

use super::{
    calendar::{civil_from_days, days_from_civil, days_in, MAX_SECS, MAX_YEAR, MIN_SECS, MIN_YEAR, SECS_PER_DAY},
    timestamp::{InvalidTimestamp, Timestamp, BILLION},
};

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of(*self).as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads a timestamp as leniently as upstream does: blanks between the parts, a space for the T, any number of digits
    /// of a fraction (those after the ninth are dropped), and an offset as `Z`, `UTC`, `+02:00` or `+0200`.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        parse(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("Timestamp", Text::of(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a timestamp")
            }

            fn visit_newtype_struct<D>(self, deserializer: D) -> Result<Timestamp, D::Error>
            where
                D: Deserializer<'de>,
            {
                deserializer.deserialize_str(self)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_newtype_struct("Timestamp", Visitor)
    }
}

/// The longest text is `-262144-01-01T00:00:00.123456789Z`; numbers of nanoseconds reach the year 2262 only, but parsed
/// timestamps go all the way. [`Timestamp::next`] and the parser keep to the range.
const MAX_TEXT: usize = 40;

/// The canonical text of a timestamp, without an allocation.
struct Text {
    bytes: [u8; MAX_TEXT],
    len: usize,
}

impl Text {
    fn of(t: Timestamp) -> Self {
        let mut text = Text {
            bytes: [0; MAX_TEXT],
            len: 0,
        };
        let days = t.secs.div_euclid(SECS_PER_DAY);
        let second_of_day = t.secs.rem_euclid(SECS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        if !(0..=9999).contains(&year) {
            text.byte(if year < 0 { b'-' } else { b'+' });
        }
        text.number(year.unsigned_abs(), 4);
        text.part(b'-', month);
        text.part(b'-', day);
        let leap = t.nanos >= BILLION;
        let nanos = if leap { t.nanos - BILLION } else { t.nanos };
        text.part(b'T', second_of_day / 3600);
        text.part(b':', second_of_day / 60 % 60);
        text.part(b':', second_of_day % 60 + i64::from(leap));
        let (fraction, width) = match nanos {
            n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
            n if n % 1000 == 0 => (n / 1000, 6),
            n => (n, 9),
        };
        if fraction != 0 {
            text.byte(b'.');
            text.number(u64::from(fraction), width);
        }
        text.byte(b'Z');
        text
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("digits and signs are ASCII")
    }

    fn byte(&mut self, b: u8) {
        self.bytes[self.len] = b;
        self.len += 1;
    }

    fn part(&mut self, separator: u8, n: i64) {
        self.byte(separator);
        self.number(n.unsigned_abs(), 2);
    }

    /// Writes `n` with at least `width` digits.
    fn number(&mut self, n: u64, width: usize) {
        let mut digits = [0; 20];
        let (mut n, mut at) = (n, digits.len());
        while n > 0 || at > digits.len() - width {
            at -= 1;
            digits[at] = b'0' + (n % 10) as u8; // below ten
            n /= 10;
        }
        for &b in &digits[at..] {
            self.byte(b);
        }
    }
}

fn parse(text: &str) -> Result<Timestamp, InvalidTimestamp> {
    let mut p = Parser(text);
    let t = p.timestamp().ok_or(InvalidTimestamp)?;
    p.blanks();
    if p.0.is_empty() {
        Ok(t)
    } else {
        Err(InvalidTimestamp)
    }
}

/// Takes a timestamp apart; it holds what is still to be read.
struct Parser<'a>(&'a str);

impl Parser<'_> {
    fn timestamp(&mut self) -> Option<Timestamp> {
        let year = self.year()?;
        let month = self.after('-')?;
        let day = self.after('-')?;
        self.one_of(&['T', ' '])?;
        let hour = self.number(2)?;
        let minute = self.after(':')?;
        let second = self.after(':')?;
        let nanos = self.fraction()?;
        let offset = self.offset()?;
        if !(MIN_YEAR..=MAX_YEAR).contains(&year)
            || !(1..=12).contains(&month)
            || !(1..=days_in(year, month)).contains(&day)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let (second, nanos) = if second == 60 {
            (59, nanos + BILLION)
        } else {
            (second, nanos)
        };
        let days = days_from_civil(year, month, day);
        let secs = days * SECS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
        (MIN_SECS..=MAX_SECS)
            .contains(&secs)
            .then_some(Timestamp { secs, nanos })
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn one_of(&mut self, chars: &[char]) -> Option<char> {
        let c = self.0.chars().next().filter(|c| chars.contains(c))?;
        self.0 = &self.0[c.len_utf8()..];
        Some(c)
    }

    /// Takes `separator` and a number of one or two digits, with blanks before either.
    fn after(&mut self, separator: char) -> Option<i64> {
        self.blanks();
        self.one_of(&[separator])?;
        self.number(2)
    }

    fn number(&mut self, width: usize) -> Option<i64> {
        self.blanks();
        self.digits(width).map(|(n, _)| n)
    }

    /// Takes one to `width` digits and tells how many.
    fn digits(&mut self, width: usize) -> Option<(i64, usize)> {
        let len = self.count_digits().min(width);
        let n = self.0[..len].parse().ok()?;
        self.0 = &self.0[len..];
        Some((n, len))
    }

    fn count_digits(&self) -> usize {
        self.0.bytes().take_while(u8::is_ascii_digit).count()
    }

    /// Takes four digits at most, or any number of them after a sign.
    fn year(&mut self) -> Option<i64> {
        self.blanks();
        match self.one_of(&['-', '+']) {
            Some('-') => self.digits(usize::MAX).map(|(n, _)| -n),
            Some(_) => self.digits(usize::MAX).map(|(n, _)| n),
            None => self.digits(4).map(|(n, _)| n),
        }
    }

    fn fraction(&mut self) -> Option<u32> {
        if self.one_of(&['.']).is_none() {
            return Some(0);
        }
        let (n, len) = self.digits(9)?;
        self.0 = &self.0[self.count_digits()..];
        Some(n as u32 * 10u32.pow(9 - len as u32)) // nine digits at most
    }

    /// Takes the offset and returns it in seconds.
    fn offset(&mut self) -> Option<i64> {
        self.blanks();
        if self.one_of(&['z', 'Z']).is_some() {
            return Some(0);
        }
        if self.0.get(..3).is_some_and(|s| s.eq_ignore_ascii_case("utc")) {
            self.0 = &self.0[3..];
            return Some(0);
        }
        let sign = if self.one_of(&['+', '-'])? == '-' { -1 } else { 1 };
        let hours = self.two_digits()?;
        self.0 = self.0.trim_start_matches(|c: char| c == ':' || c.is_whitespace());
        let minutes = self.two_digits()?;
        (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
    }

    fn two_digits(&mut self) -> Option<i64> {
        if self.count_digits() < 2 {
            return None;
        }
        self.digits(2).map(|(n, _)| n)
    }
}
