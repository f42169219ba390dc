//! Presets as an operator writes them, and a script that one of them probes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Says `alive` at the start of each life, and is healthy while `/tmp/ok` is there.
pub const SCRIPT: &str = "touch /tmp/ok; trap 'exit 0' TERM; echo alive $FROM_PRESET; while :; do sleep 0.05; done";

/// Probes [`SCRIPT`] five times a second and restarts it at once.
pub const HEALTH: &str = r#"apiVersion: hshim.dev/v1alpha1
kind: PodPreset
metadata:
  name: health
spec:
  selector:
    matchLabels:
      role: frontend
  livenessProbe:
    exec:
      command: [test, -e, /tmp/ok]
    failureThreshold: 2
    timeoutSeconds: 5
  supervision:
    periodMilliseconds: 200
  backoff:
    initialMilliseconds: 50
    capMilliseconds: 100
  terminationGracePeriodSeconds: 1
  env:
  - name: FROM_PRESET
    value: here
"#;

/// Writes a preset into a directory that is made if it is not there, for root alone to write.
pub fn write(dir: &Path, name: &str, text: &str) -> String {
    fs::create_dir_all(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path.to_str().unwrap().to_owned()
}
