//! The roles of processes.

/// The role of a process; it decides which settings the environment must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything in one process, with embedded parts where no URL says otherwise.
    Up,
    /// The API of a scaled-out installation.
    Api,
    /// A worker of a scaled-out installation.
    Worker,
    /// The sandbox alone.
    Sandbox,
    /// Prepares the database.
    Migrate,
    /// A command that looks into an installation: doctor, jobs, orders.
    Operator,
}

impl Role {
    /// The command that starts it, for messages.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Role::Up => "tasdiq up",
            Role::Api => "tasdiq api",
            Role::Worker => "tasdiq worker",
            Role::Sandbox => "tasdiq sandbox",
            Role::Migrate => "tasdiq migrate",
            Role::Operator => "this command",
        }
    }

    /// Whether it is one of several processes, which can only meet in servers.
    pub(crate) fn is_scaled_out(self) -> bool {
        matches!(self, Role::Api | Role::Worker)
    }

    /// Whether it serves the order API.
    pub(crate) fn serves_orders(self) -> bool {
        matches!(self, Role::Up | Role::Api)
    }
}
