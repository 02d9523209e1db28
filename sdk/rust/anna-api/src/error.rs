use std::fmt;

/// What can go wrong with a request to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum AnnaError {
    /// Nothing is stored under the key.
    KeyDoesNotExist,
    /// The request came to a thread that is not responsible for the key.
    WrongThread,
    /// The request took too long.
    Timeout,
    /// Values of different types cannot be merged.
    Lattice,
    /// The cluster has no node that stores anything.
    NoServers,
    /// A message could not be encoded or decoded.
    Serialize,
}

impl fmt::Display for AnnaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyDoesNotExist => "nothing is stored under the key",
            Self::WrongThread => "the request came to a thread that is not responsible for the key",
            Self::Timeout => "the request timed out",
            Self::Lattice => "the key holds a value of another lattice type",
            Self::NoServers => "there are no servers in the cluster",
            Self::Serialize => "a message could not be encoded or decoded",
        })
    }
}

impl std::error::Error for AnnaError {}

#[cfg(feature = "serde_json")]
impl From<serde_json::Error> for AnnaError {
    fn from(_: serde_json::Error) -> Self {
        Self::Serialize
    }
}
