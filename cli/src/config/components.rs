//! The components that have settings, and which role reads them.

use config::{Contract, Definition, Environment, FileSettings, Settings, Variables};

use super::file_shop::{FileShop, ShopsFileSettings};
use super::role::Role::{self, Api, Migrate, Operator, Sandbox, Up, Worker};
use domain::order::PaymentType;

use crate::data_dir::settings::DataDirSettings;
use crate::sandbox::settings::SandboxSettings;

/// One component, for the names of its settings.
struct Component {
    definitions: &'static [Definition],
    read_by: &'static [Role],
}

/// Makes [`Config`] and the lists from the one table below.
macro_rules! components {
    ($($(#[$meta:meta])+ $component:ident: $settings:ty, read by $roles:expr;)+) => {
        /// All settings, component by component. Those that its role does not read have their defaults.
        #[derive(Clone, Debug)]
        pub(crate) struct Config {
            /// The role of this process.
            pub(crate) role: Role,
            $($(#[$meta])+ pub(crate) $component: $settings,)+
            /// The payment types of the accounts that the variables describe.
            pub(crate) own_accounts: Vec<PaymentType>,
            /// The shops of the file, with their accounts.
            pub(crate) file_shops: Vec<FileShop>,
            /// Warnings, in sentences for the log; they hold no secret.
            pub(crate) warnings: Vec<String>,
            /// The variables that all this was read from, those of files among them.
            pub(crate) variables: Variables,
        }

        const COMPONENTS: &[Component] =
            &[$(Component { definitions: <$settings>::DEFINITIONS, read_by: &$roles }),+];

        /// All settings there are. A name that begins like ours and is not here earns a warning.
        pub(crate) const CONTRACT: Contract = Contract(&[$(<$settings>::DEFINITIONS,)+ FileSettings::DEFINITIONS]);

        impl Config {
            /// Reads each setting by itself. `None` stands for a fault of `env`.
            pub(super) fn read(role: Role, env: &mut Environment<'_>) -> Option<Self> {
                Some(Config {
                    role,
                    $($component: <$settings>::read(env)?,)+
                    own_accounts: Vec::new(),
                    file_shops: Vec::new(),
                    warnings: Vec::new(),
                    variables: Variables::default(),
                })
            }
        }
    };
}

// A process reads the settings of what it runs. An operator's command reads what leads to the installation and its gateway,
// and nothing else: it must get in when the processes do not start.
components! {
    /// Atmos.
    atmos: gateway::atmos::AtmosSettings, read by [Up, Api, Worker, Operator];
    /// Payme.
    payme: gateway::payme::PaymeSettings, read by [Up, Api, Worker, Operator];
    /// Click.
    click: gateway::click::ClickSettings, read by [Up, Api, Worker, Operator];
    /// The addresses callbacks may come from.
    callback_addresses: api::CallbackAddresses, read by [Up, Api];
    /// The database.
    database: store::DatabaseSettings, read by [Up, Api, Worker, Migrate, Operator];
    /// Connections to the database.
    pool: store::PoolSettings, read by [Up, Api, Worker];
    /// Redis, or the queue inside the process.
    redis: redis_server::RedisSettings, read by [Up, Api, Worker, Operator];
    /// The directory of the embedded parts' files.
    data_dir: DataDirSettings, read by [Up, Api, Worker, Sandbox, Operator];
    /// The address of the installation. Workers make links to it.
    address: process::public_address::AddressSettings, read by [Up, Api, Worker];
    /// How long customers have to pay.
    payment_time: process::payment_time::PaymentTime, read by [Up, Api, Worker];
    /// The HTTP side.
    api: api::ApiSettings, read by [Up, Api];
    /// What customers read of the default shop, and where they may be sent.
    shop: api::ShopSettings, read by [Up, Api];
    /// The file with more shops.
    shops_file: ShopsFileSettings, read by [Up, Api, Worker, Operator];
    /// The jobs.
    worker: worker::WorkerSettings, read by [Up, Worker];
    /// The sandbox, which is the gateway where no other is named.
    sandbox: SandboxSettings, read by [Up, Api, Worker, Sandbox, Operator];
    /// How a process stops.
    shutdown: process::shutdown::ShutdownSettings, read by [Up, Api, Worker];
    /// The log.
    telemetry: telemetry::TelemetrySettings, read by [Up, Api, Worker, Sandbox, Migrate, Operator];
}

/// Whether a role uses a variable; one it does not use cannot keep it from starting.
pub(super) fn reads(role: Role, name: &str) -> bool {
    let has_it = |component: &&Component| component.definitions.iter().any(|definition| definition.name == name);
    COMPONENTS.iter().filter(has_it).any(|component| component.read_by.contains(&role))
}
