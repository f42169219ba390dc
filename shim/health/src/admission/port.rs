//! The ports that a container declares.

use super::container::Desk;
use crate::pod::ContainerPort;

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// For references by name.
    pub name: Option<String>,
    /// 1 to 65535.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

impl Desk<'_> {
    pub(super) fn ports(&mut self, specs: Vec<ContainerPort>) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        for (n, spec) in specs.into_iter().enumerate() {
            let path = self.at(&format!("ports[{n}]"));
            let number = match spec.container_port {
                None => {
                    self.faults.required(&format!("{path}.containerPort"), "");
                    0
                }
                Some(number) => u16::try_from(number).ok().filter(|number| *number > 0).unwrap_or_else(|| {
                    self.faults.invalid(&format!("{path}.containerPort"), number, "must be between 1 and 65535, inclusive");
                    0
                }),
            };
            let protocol = spec.protocol.unwrap_or_else(|| "TCP".to_owned());
            if !["TCP", "UDP", "SCTP"].contains(&protocol.as_str()) {
                self.faults.unsupported(&format!("{path}.protocol"), &protocol, &["SCTP", "TCP", "UDP"]);
            }
            if let Some(name) = &spec.name {
                self.port_name(name, &format!("{path}.name"), &ports);
            }
            ports.push(Port { name: spec.name, port: number, protocol });
        }
        ports
    }

    fn port_name(&mut self, name: &str, path: &str, before: &[Port]) {
        let only = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let rules = [
            (name.len() > 15, "must be no more than 15 characters"),
            (!name.chars().all(only), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
            (!name.chars().any(|c| c.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
            (name.contains("--"), "must not contain consecutive hyphens"),
            (name.starts_with('-') || name.ends_with('-'), "must not begin or end with a hyphen"),
        ];
        for (_, rule) in rules.into_iter().filter(|(broken, _)| *broken) {
            self.faults.invalid(path, name, rule);
        }
        if before.iter().any(|port| port.name.as_deref() == Some(name)) {
            self.faults.duplicate(path, name);
        }
    }
}
