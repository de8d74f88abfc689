//! Planes in processes of their own: this test program again, told by a variable to be one. A kill takes what a kill takes.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sealgate_control_plane as control;
use sealgate_data_plane as data;

use super::commits::Halting;

/// Which plane, and the config file's path.
const ROLE: &str = "ITEST_ROLE";
const CONFIG: &str = "ITEST_CONFIG";

/// A plane in a process of its own; killed when it is dropped.
pub struct Plane {
    child: Child,
    /// S3 of a node, gRPC of the control plane.
    pub address: SocketAddr,
    /// Health of a node, admin API of the control plane.
    pub admin: SocketAddr,
}

impl Plane {
    /// Starts `sealgate-data-plane --config`, but for the program's name.
    pub async fn node(config: &Path) -> Self {
        Self::start("node", config, None).await
    }

    /// The same under limits of open files, the one in force and the one that it may be raised to.
    pub async fn node_under(config: &Path, open_files: (u32, u32)) -> Self {
        Self::start("node", config, Some(open_files)).await
    }

    /// Starts `sealgate-control-plane --config`, but for the program's name.
    pub async fn control(config: &Path) -> Self {
        Self::start("control", config, None).await
    }

    async fn start(role: &str, config: &Path, open_files: Option<(u32, u32)>) -> Self {
        let addresses = addresses_file(config);
        let _ = std::fs::remove_file(&addresses);
        let program = std::env::current_exe().unwrap();
        let mut command = match open_files {
            None => Command::new(program),
            Some((soft, hard)) => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={soft}:{hard}")).arg(program);
                command
            }
        };
        // Settings for whoever runs the tests are none of this process's.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEALGATE_")) {
            command.env_remove(name);
        }
        let child = command
            .args(["--exact", "process::be_a_plane", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .env(CONFIG, config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut plane = Self { child, address: unset(), admin: unset() };
        let started = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&addresses) {
                    break text;
                }
                assert!(plane.child.try_wait().unwrap().is_none(), "the {role} ended at once");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let text = super::world::soon(role, started).await;
        let (address, admin) = text.split_once(' ').unwrap();
        (plane.address, plane.admin) = (address.parse().unwrap(), admin.parse().unwrap());
        plane
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let id = i32::try_from(self.child.id()).unwrap();
        let done = Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the process's end; whether it ended well.
    pub async fn ended(&mut self) -> bool {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.success();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        super::world::soon("the process's end", ended).await
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unset() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

fn addresses_file(config: &Path) -> PathBuf {
    config.with_extension("addresses")
}

/// No test: what [`Plane::start`] runs.
#[test]
#[ignore = "a plane for the other tests, which start it themselves"]
fn be_a_plane() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let config = PathBuf::from(std::env::var_os(CONFIG).unwrap());
    // The test that started this process holds the other end: whatever becomes of it, this process does not outlive it.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::abort();
    });
    actix_rt::System::new().block_on(async {
        let stop = data::process::stop_signal().unwrap();
        match role.as_str() {
            "node" => {
                let checked = data::config::Config::load(&config).unwrap();
                let plane =
                    data::plane::DataPlane::start(checked, data::clock::SystemClock::shared()).unwrap();
                tell(&config, plane.address(), plane.admin_address());
                plane.run(stop).await.unwrap();
            }
            "control" => {
                let checked = control::Config::load(&config).unwrap();
                let parts = control::Parts::open(&checked).await.unwrap();
                let store = Arc::new(Halting::new(parts.store, &config));
                let parts = control::Parts { store, ..parts };
                let plane = control::ControlPlane::start_with(checked, parts).await.unwrap();
                tell(&config, plane.grpc_addr(), plane.admin_addr());
                stop.await;
                plane.stop().await;
            }
            other => panic!("no role {other}"),
        }
    });
}

fn tell(config: &Path, address: SocketAddr, admin: SocketAddr) {
    let path = addresses_file(config);
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, format!("{address} {admin}")).unwrap();
    std::fs::rename(&temporary, &path).unwrap();
}
