//! A canonical request into its words.

use super::{Number, number};

/// The words of a canonical request, in turn.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    pub(super) rest: &'a [u8],
    left: usize,
}

impl<'a> Words<'a> {
    /// Walk through `request`, which must be canonical; stops where it is not.
    #[must_use]
    pub fn of(request: &'a [u8]) -> Self {
        match request {
            [b'*', rest @ ..] => match number(rest) {
                Number::Is(left, width) if left > 0 => {
                    Self { rest: &rest[width..], left: usize::try_from(left).unwrap_or(0) }
                }
                _ => Self { rest: &[], left: 0 },
            },
            _ => Self { rest: &[], left: 0 },
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let [b'$', rest @ ..] = self.rest else { return None };
        let Number::Is(bytes, width) = number(rest) else { return None };
        let bytes = usize::try_from(bytes).ok()?;
        let word = rest.get(width..width.checked_add(bytes)?)?;
        self.rest = rest.get(width + bytes + 2..)?;
        self.left -= 1;
        Some(word)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Words<'_> {}
