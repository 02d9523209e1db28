use std::{fmt, ops::Deref, sync::Arc};

/// The name of a value in the store. Clones share the text.
#[derive(Debug, PartialEq, Eq, Hash, Clone, serde::Serialize, serde::Deserialize)]
pub struct ClientKey(Arc<String>);

impl Deref for ClientKey {
    type Target = Arc<String>;

    fn deref(&self) -> &Arc<String> {
        &self.0
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<Arc<String>> for ClientKey {
    fn from(text: Arc<String>) -> Self {
        Self(text)
    }
}

impl From<String> for ClientKey {
    fn from(text: String) -> Self {
        Self(Arc::new(text))
    }
}

impl From<&str> for ClientKey {
    fn from(text: &str) -> Self {
        Self(Arc::new(text.to_owned()))
    }
}
