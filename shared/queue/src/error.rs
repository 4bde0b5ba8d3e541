//! The ways in which a queue fails.

/// Why the queue failed. The jobs are safe in the database; try again later.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Redis cannot be reached, or did not answer in time.
    #[error("Redis is not available")]
    Unavailable(#[source] redis::RedisError),
    /// Redis answered with an error: a wrong version or password, no memory left, no permission.
    #[error("Redis refused: {0}")]
    Refused(String),
}

impl From<redis::RedisError> for QueueError {
    fn from(error: redis::RedisError) -> Self {
        match error.code() {
            // It comes before any command, so it has no code.
            _ if error.kind() == redis::ErrorKind::AuthenticationFailed => QueueError::Refused(error.to_string()),
            Some(code) if !matches!(code, "LOADING" | "MASTERDOWN" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN") => {
                QueueError::Refused(error.to_string())
            }
            _ => QueueError::Unavailable(error),
        }
    }
}
