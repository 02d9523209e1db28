use std::{error::Error, fmt};

/// How an operation ended. The numbers are part of the contract with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum EssaResult {
    /// It ended well.
    Ok = 0,
    /// The function failed, the store refused, or time was up.
    UnknownError = -1,
    /// The module has no export of that name.
    NoSuchFunction = -2,
    /// A buffer was too small.
    BufferTooSmall = -3,
    /// Nothing is stored under the key, or there is no such call.
    NotFound = -4,
    /// The export is not a function, or does not take the length of its arguments.
    InvalidFunctionSignature = -5,
    /// The function ended without setting a result.
    NoResult = -6,
    /// What arrived cannot be decoded.
    InvalidResult = -8,
}

impl fmt::Display for EssaResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "it ended well",
            Self::UnknownError => "unspecified error",
            Self::NoSuchFunction => "no such function",
            Self::BufferTooSmall => "a buffer was too small",
            Self::NotFound => "not found",
            Self::InvalidFunctionSignature => "not a function that can be called",
            Self::NoResult => "it ended without a result",
            Self::InvalidResult => "what arrived cannot be decoded",
        })
    }
}

impl Error for EssaResult {}

impl From<EssaResult> for i32 {
    fn from(result: EssaResult) -> i32 {
        result as i32
    }
}

/// A number that is no [`EssaResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCode {
    /// The number.
    pub number: i32,
}

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no EssaResult with the number {}", self.number)
    }
}

impl Error for UnknownCode {}

impl TryFrom<i32> for EssaResult {
    type Error = UnknownCode;

    fn try_from(number: i32) -> Result<Self, UnknownCode> {
        Ok(match number {
            0 => Self::Ok,
            -1 => Self::UnknownError,
            -2 => Self::NoSuchFunction,
            -3 => Self::BufferTooSmall,
            -4 => Self::NotFound,
            -5 => Self::InvalidFunctionSignature,
            -6 => Self::NoResult,
            -8 => Self::InvalidResult,
            number => return Err(UnknownCode { number }),
        })
    }
}

/// What the host answered, as a result. Numbers that are not in the contract are errors without a name.
pub(crate) fn check(number: i32) -> Result<(), EssaResult> {
    match EssaResult::try_from(number) {
        Ok(EssaResult::Ok) => Ok(()),
        Ok(error) => Err(error),
        Err(UnknownCode { .. }) => Err(EssaResult::UnknownError),
    }
}

/// Why a call has no result. (essad)
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallError {
    /// What the host answered.
    pub code: EssaResult,
    /// The reason, where the host tells one: its class and a text, as `guest_fault: unreachable`.
    pub reason: Option<String>,
}

impl CallError {
    pub(crate) fn new(code: EssaResult, reason: Option<String>) -> Self {
        Self { code, reason }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => f.write_str(reason),
            None => self.code.fmt(f),
        }
    }
}

impl Error for CallError {}

impl From<CallError> for EssaResult {
    fn from(error: CallError) -> Self {
        error.code
    }
}
