//! What a preset is, the rows of the merge table, and what Kubernetes' documentation shows.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::merging::{Conflict, Merge, Source, merge};
use super::*;

fn yaml_like(spec: Value, version: &str, name: &str) -> Value {
    json!({"apiVersion": version, "kind": "PodPreset", "metadata": {"name": name}, "spec": spec})
}

fn preset(name: &str, spec: Value) -> PodPreset {
    read(&yaml_like(spec, OWN_VERSION, name)).unwrap()
}

fn faults(document: &Value) -> Vec<String> {
    read(document).unwrap_err().0.iter().map(ToString::to_string).collect()
}

fn website() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "website", "labels": {"app": "website", "role": "frontend"}},
        "spec": {"containers": [{"name": "website", "image": "nginx", "ports": [{"containerPort": 80}]}]}})
}

fn sources(presets: &[PodPreset]) -> Vec<String> {
    presets.iter().map(|preset| format!("{}.yaml", preset.name)).collect()
}

fn decided(document: &Value, presets: &[PodPreset]) -> Result<Merge, Vec<Conflict>> {
    merge(&pod::target(document, "default"), presets)
}

fn merged(document: &Value, presets: &[PodPreset]) -> Value {
    let merge = decided(document, presets).unwrap();
    pod::merged(document, &merge, presets, &sources(presets)).0
}

fn conflicts(document: &Value, presets: &[PodPreset]) -> Vec<String> {
    let worded = |conflict: &Conflict| {
        let other = match &conflict.other {
            Source::Pod(path) => path.clone(),
            Source::Preset(given) => format!("{}:{}", presets[given.preset].name, given.path),
        };
        format!("{} of {}:{} and {other}", conflict.thing, presets[conflict.preset.preset].name, conflict.preset.path)
    };
    decided(document, presets).unwrap_err().iter().map(worded).collect()
}

fn allow_database() -> PodPreset {
    let spec = json!({"selector": {"matchLabels": {"role": "frontend"}}, "env": [{"name": "DB_PORT", "value": "6379"}],
        "volumeMounts": [{"mountPath": "/cache", "name": "cache-volume"}], "volumes": [{"name": "cache-volume", "emptyDir": {}}]});
    read(&yaml_like(spec, KUBERNETES_VERSION, "allow-database")).unwrap()
}

fn proxy() -> PodPreset {
    let spec = json!({"selector": {"matchLabels": {"role": "frontend"}}, "volumeMounts": [{"mountPath": "/etc/proxy", "name": "proxy-volume"}],
        "volumes": [{"name": "proxy-volume", "emptyDir": {}}]});
    read(&yaml_like(spec, KUBERNETES_VERSION, "proxy")).unwrap()
}

#[test]
fn the_simple_example_of_kubernetes_gives_environment_mount_volume_and_annotation() {
    let mut expected = website();
    expected["metadata"]["annotations"] =
        json!({"podpreset.admission.kubernetes.io/podpreset-allow-database": "allow-database.yaml"});
    expected["spec"]["volumes"] = json!([{"name": "cache-volume", "emptyDir": {}}]);
    expected["spec"]["containers"][0]["env"] = json!([{"name": "DB_PORT", "value": "6379"}]);
    expected["spec"]["containers"][0]["volumeMounts"] = json!([{"mountPath": "/cache", "name": "cache-volume"}]);
    assert_eq!(merged(&website(), &[allow_database()]), expected);
}

#[test]
fn two_presets_are_both_applied_in_their_order_with_two_annotations() {
    let pod = merged(&website(), &[allow_database(), proxy()]);
    let names: Vec<&str> = pod["spec"]["volumes"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["cache-volume", "proxy-volume"]);
    assert_eq!(pod["metadata"]["annotations"].as_object().unwrap().len(), 2);
    assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][1]["mountPath"], "/etc/proxy");
}

#[test]
fn a_pod_that_mounts_its_own_volume_at_the_path_is_a_conflict_and_nothing_is_applied() {
    let mut pod = website();
    pod["spec"]["volumes"] = json!([{"name": "mine", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"mountPath": "/cache", "name": "mine"}]);
    let expected = "what is mounted at /cache of allow-database:spec.volumeMounts[0] and spec.containers[0].volumeMounts[0]";
    assert_eq!(conflicts(&pod, &[proxy(), allow_database()]), [expected]);
}

#[test]
fn environment_from_maps_is_appended_again_and_marked_as_unsupported() {
    let from = json!([{"configMapRef": {"name": "etcd-env-config"}}]);
    let preset = preset("p", json!({"env": [{"name": "A", "value": "$(REPLACE_ME)"}], "envFrom": from}));
    assert_eq!(preset.unsupported.to_string(), "spec.envFrom: not supported by hshim: remove it");
    let mut pod = website();
    pod["spec"]["containers"][0]["envFrom"] = from.clone();
    let pod = merged(&pod, &[preset]);
    assert_eq!(pod["spec"]["containers"][0]["envFrom"], json!([from[0], from[0]]));
    assert_eq!(pod["spec"]["containers"][0]["env"], json!([{"name": "A", "value": "$(REPLACE_ME)"}]));
}

/// A row: what the container or pod has, what the preset gives, the list's name, and what becomes of it; none is a conflict.
fn check_row(own: &Value, given: &Value, list: &str, expected: Option<&Value>) {
    let of_pod = list == "volumes";
    let mut pod = website();
    let mut spec = json!({});
    spec[list] = given.clone();
    if list == "volumeMounts" {
        // Every mount names a volume of the preset's own.
        let names = given.as_array().unwrap().iter().map(|mount| json!({"name": mount["name"], "emptyDir": {}}));
        spec["volumes"] = names.collect();
    }
    let place = if of_pod { "/spec" } else { "/spec/containers/0" };
    pod.pointer_mut(place).unwrap()[list] = own.clone();
    let merge = decided(&pod, &[preset("p", spec)]);
    match expected {
        None => assert!(merge.is_err(), "{own} and {given}"),
        Some(expected) => {
            let (merged, _) = pod::merged(&pod, &merge.unwrap(), &[], &[]);
            assert_eq!(merged.pointer(place).unwrap()[list], *expected, "{own} and {given}");
        }
    }
}

#[test]
fn each_row_of_the_merge_table_holds() {
    let env = |name: &str, value: &str| json!({"name": name, "value": value});
    check_row(&json!([env("A", "1")]), &json!([env("A", "1")]), "env", Some(&json!([env("A", "1")])));
    check_row(&json!([env("A", "1")]), &json!([env("A", "2")]), "env", None);
    check_row(&json!([env("A", "1")]), &json!([env("B", "2")]), "env", Some(&json!([env("A", "1"), env("B", "2")])));
    check_row(&json!([{"name": "A"}]), &json!([env("A", "")]), "env", Some(&json!([{"name": "A"}])));
    let volume = |name: &str, medium: &str| json!({"name": name, "emptyDir": {"medium": medium}});
    check_row(&json!([volume("v", "")]), &json!([{"name": "v", "emptyDir": {}}]), "volumes", Some(&json!([volume("v", "")])));
    check_row(&json!([volume("v", "")]), &json!([volume("v", "Memory")]), "volumes", None);
    check_row(&json!([volume("v", "")]), &json!([volume("w", "")]), "volumes", Some(&json!([volume("v", ""), volume("w", "")])));
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let read_only = json!({"name": "v", "mountPath": "/a", "readOnly": true});
    check_row(&json!([mount("v", "/a")]), &json!([mount("v", "/a")]), "volumeMounts", Some(&json!([mount("v", "/a")])));
    check_row(&json!([mount("v", "/a")]), &json!([mount("v", "/b")]), "volumeMounts", None);
    check_row(&json!([mount("v", "/a")]), &json!([mount("w", "/a")]), "volumeMounts", None);
    check_row(&json!([mount("v", "/a")]), &json!([read_only]), "volumeMounts", None);
    let both = json!([mount("v", "/a"), mount("w", "/b")]);
    check_row(&json!([mount("v", "/a")]), &json!([mount("w", "/b")]), "volumeMounts", Some(&both));
}

const FAST: &str = r#"{"exec":{"command":["true"]},"periodSeconds":1}"#;
const SLOW: &str = r#"{"exec":{"command":["true"]},"periodSeconds":60}"#;

fn probe(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_health_field_that_the_pod_has_itself_stays() {
    let mut pod = website();
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"] = json!([{"name": "a", "image": "i", "livenessProbe": probe(SLOW)}, {"name": "b", "image": "i"}]);
    let all =
        preset("p", json!({"livenessProbe": probe(FAST), "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 5}));
    let some = preset("q", json!({"containers": ["b"], "restartPolicy": "Always"}));
    let spec = merged(&pod, &[all, some])["spec"].clone();
    assert_eq!(spec["containers"][0]["livenessProbe"], probe(SLOW));
    assert_eq!(spec["containers"][1]["livenessProbe"], probe(FAST));
    assert_eq!((&spec["restartPolicy"], &spec["terminationGracePeriodSeconds"]), (&json!("Never"), &json!(5)));
    assert_eq!(spec["containers"][1].get("restartPolicy"), None, "the pod's own policy decides for its containers");
}

#[test]
fn two_presets_that_give_one_health_field_differently_are_a_conflict_that_names_both() {
    let one = preset("one", json!({"livenessProbe": probe(FAST)}));
    let two = preset("two", json!({"livenessProbe": probe(SLOW)}));
    let expected = "livenessProbe of two:spec.livenessProbe and one:spec.livenessProbe";
    assert_eq!(conflicts(&website(), &[one.clone(), two.clone()]), [expected]);
    assert_eq!(merged(&website(), &[one.clone(), one])["spec"]["containers"][0]["livenessProbe"], probe(FAST));
    let mut own = website();
    own["spec"]["containers"][0]["livenessProbe"] = probe(SLOW);
    assert_eq!(decided(&own, &[two]).unwrap().additions, []);
}

#[test]
fn only_the_containers_that_are_named_get_something() {
    let mut pod = website();
    pod["spec"]["containers"] = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
    let of_b = preset("p", json!({"containers": ["b"], "env": [{"name": "A", "value": "1"}], "restartPolicy": "Never"}));
    let result = merged(&pod, &[of_b]);
    assert_eq!(result["spec"]["containers"][0], pod["spec"]["containers"][0]);
    assert_eq!(result["spec"]["containers"][1]["restartPolicy"], "Never");
    let of_nobody = preset("p", json!({"containers": ["c"], "volumes": [{"name": "v", "emptyDir": {}}]}));
    assert_eq!(merged(&pod, &[of_nobody]), pod);
}

#[test]
fn namespace_selector_and_exclusion_decide_who_is_meant() {
    let anything = json!({"env": [{"name": "A", "value": "1"}]});
    let mut elsewhere = preset("p", anything.clone());
    elsewhere.namespace = Some("shop".to_owned());
    assert_eq!(merged(&website(), &[elsewhere.clone()]), website());
    assert_eq!(merge(&pod::target(&website(), "shop"), &[elsewhere]).unwrap().applied, [0]);
    for (key, value, is_left_alone) in [
        (EXCLUDE, "true", true),
        (EXCLUDE, "True", false),
        (OWN_EXCLUDE, "true", true),
        ("kubernetes.io/config.mirror", "x", true),
        ("other", "true", false),
    ] {
        let mut pod = website();
        pod["metadata"]["annotations"] = json!({key: value});
        let applied = decided(&pod, &[preset("p", anything.clone())]).unwrap().applied;
        assert_eq!(applied.is_empty(), is_left_alone, "{key}: {value}");
    }
    let backend = preset("p", json!({"selector": {"matchLabels": {"role": "backend"}}, "env": [{"name": "A", "value": "1"}]}));
    assert_eq!(merged(&website(), &[backend]), website());
}

#[test]
fn everything_wrong_with_a_preset_is_said_at_once_with_its_path() {
    let spec = json!({"selector": {"matchLabel": {}}, "env": [{"name": "A", "valu": "1"}], "volumeMounts": [{"name": "v", "mountPath": "/a"}],
        "livenessProbe": {"exec": {"command": ["true"]}, "periodSecond": 1}, "restartPolicy": "Maybe", "backoff": {"capMilliseconds": 0},
        "supervision": {"x": 1}, "containers": ["a", "a", "B"], "extra": 1});
    let found = faults(&yaml_like(spec, OWN_VERSION, "Bad_Name"));
    let paths: Vec<&str> = found.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
    let expected = [
        "spec.selector.matchLabel",
        "spec.containers[1]",
        "spec.containers[2]",
        "spec.extra",
        "spec.env[0].valu",
        "spec.livenessProbe.periodSecond",
        "metadata.name",
        "spec.restartPolicy",
        "spec.volumeMounts[0].name",
        "spec.backoff.capMilliseconds",
        "spec.supervision.x",
    ];
    let sorted = |mut paths: Vec<&str>| {
        paths.sort_unstable();
        paths.join("\n")
    };
    assert_eq!(sorted(paths), sorted(expected.to_vec()), "{found:#?}");
}

#[test]
fn what_is_no_preset_and_what_says_nothing_is_refused() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod"});
    assert_eq!(faults(&pod), ["kind: Unsupported value: \"Pod\": supported values: \"PodPreset\""]);
    let later = yaml_like(json!({}), "settings.k8s.io/v1", "p");
    assert!(faults(&later)[0].starts_with("apiVersion: Unsupported value: \"settings.k8s.io/v1\""), "{:?}", faults(&later));
    let empty = faults(&yaml_like(json!({"selector": {}}), KUBERNETES_VERSION, "p"));
    assert_eq!(empty, ["spec: Required value: must specify at least one of env, envFrom, volumes, volumeMounts"]);
    let health = faults(&yaml_like(json!({"env": [{"name": "A"}], "livenessProbe": probe(FAST)}), KUBERNETES_VERSION, "p"));
    assert_eq!(health, ["spec.livenessProbe: unknown field: a preset of apiVersion hshim.dev/v1alpha1 has it"]);
    let grace = yaml_like(json!({"containers": ["a"], "terminationGracePeriodSeconds": 1}), OWN_VERSION, "p");
    assert!(faults(&grace)[0].starts_with("spec.terminationGracePeriodSeconds: Forbidden"), "{:?}", faults(&grace));
}

#[test]
fn what_hshim_has_not_is_no_fault_of_the_preset() {
    let spec = json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], "volumes": [{"name": "v", "secret": {}}]});
    let preset = read(&yaml_like(spec, KUBERNETES_VERSION, "p")).unwrap();
    let paths: Vec<&str> = preset.unsupported.0.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["spec.env[0].valueFrom", "spec.volumes[0].secret"]);
}

#[test]
fn every_added_field_has_its_origin() {
    let presets = [allow_database(), preset("health", json!({"livenessProbe": probe(FAST), "restartPolicy": "Never"}))];
    let merge = decided(&website(), &presets).unwrap();
    let (document, origins) = pod::merged(&website(), &merge, &presets, &sources(&presets));
    let shown: Vec<String> =
        origins.iter().map(|origin| format!("{} {} {}", origin.path, origin.from.preset, origin.from.path)).collect();
    let expected = [
        "spec.volumes[0] 0 spec.volumes[0]",
        "spec.containers[0].env[0] 0 spec.env[0]",
        "spec.containers[0].volumeMounts[0] 0 spec.volumeMounts[0]",
        "spec.containers[0].livenessProbe 1 spec.livenessProbe",
        "spec.restartPolicy 1 spec.restartPolicy",
    ];
    assert_eq!(shown, expected);
    assert_eq!(document["spec"]["containers"][0]["livenessProbe"], probe(FAST));
}

#[test]
fn what_manifests_have_no_fields_for_becomes_an_annotation_of_the_pod_or_of_the_containers_that_are_named() {
    let mut pod = website();
    pod["spec"]["containers"] = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
    let all = preset("p", json!({"backoff": {"capMilliseconds": 20000}}));
    let of_b = preset(
        "q",
        json!({"containers": ["b"], "supervision": {"periodMilliseconds": 200}, "backoff": {"capMilliseconds": 30000}}),
    );
    let merged = merged(&pod, &[all.clone(), of_b]);
    let annotations = &merged["metadata"]["annotations"];
    assert_eq!(annotations["hshim.dev/backoff"], r#"{"capMilliseconds":20000}"#);
    assert_eq!(annotations["b.hshim.dev/backoff"], r#"{"capMilliseconds":30000}"#);
    assert_eq!(annotations["b.hshim.dev/supervision"], r#"{"periodMilliseconds":200}"#);
    let plan = crate::pod::decode(&merged).and_then(admit).unwrap().plan("uid");
    let caps = plan.containers.iter().map(|container| container.backoff.cap.as_secs()).collect::<Vec<_>>();
    assert_eq!(caps, [20, 30]);
    pod["metadata"]["annotations"] = json!({"hshim.dev/backoff": r#"{"cap": 1}"#});
    let faults = crate::pod::decode(&pod).and_then(admit).unwrap_err().to_string();
    assert_eq!(faults, "metadata.annotations[hshim.dev/backoff].cap: unknown field", "said once, for two containers");
    assert_eq!(decided(&pod, &[all]).unwrap().additions, []);
}

fn config() -> Value {
    json!({"ociVersion": "1.0.2", "process": {"args": ["x"], "env": ["PATH=/bin", "A=1"]},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "annotations": {"role": "frontend", "io.kubernetes.cri.sandbox-name": "shop-1", "io.kubernetes.cri.sandbox-namespace": "shop",
            "io.kubernetes.cri.container-name": "web"}})
}

fn merged_bundle(config: &Value, presets: &[PodPreset]) -> Result<Value, Vec<Conflict>> {
    let merge = merge(&bundle::target("id", config).unwrap(), presets)?;
    Ok(bundle::additions(&merge, presets, &sources(presets)).unwrap().merged(config))
}

#[test]
fn a_bundle_gets_annotations_environment_and_mounts() {
    let spec = json!({"livenessProbe": probe(FAST), "restartPolicy": "Always", "terminationGracePeriodSeconds": 5,
        "backoff": {"initialMilliseconds": 50}, "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}],
        "volumes": [{"name": "v", "hostPath": {"path": "/srv"}}], "volumeMounts": [{"name": "v", "mountPath": "/data", "readOnly": true}]});
    let merged = merged_bundle(&config(), &[preset("p", spec)]).unwrap();
    let annotations = &merged["annotations"];
    assert_eq!(annotations["hshim.dev/livenessProbe"], FAST);
    assert_eq!(annotations["hshim.dev/restartPolicy"], "Always");
    assert_eq!(annotations["hshim.dev/terminationGracePeriodSeconds"], "5");
    assert_eq!(annotations["hshim.dev/backoff"], r#"{"initialMilliseconds":50}"#);
    assert_eq!(annotations["podpreset.admission.kubernetes.io/podpreset-p"], "p.yaml");
    assert_eq!(merged["process"]["env"], json!(["PATH=/bin", "A=1", "B=12"]));
    let mount = json!({"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "rprivate", "ro"]});
    assert_eq!(merged["mounts"], json!([config()["mounts"][0], mount]));
    let annotations: BTreeMap<String, String> = serde_json::from_value(annotations.clone()).unwrap();
    assert!(annotation::plan("web", &annotations).unwrap().is_some(), "the annotations are understood");
}

#[test]
fn a_bundle_is_found_by_its_annotations_and_by_what_kubernetes_tells_of_it() {
    let by = |key: &str, value: &str| {
        let preset = preset("p", json!({"selector": {"matchLabels": {key: value}}, "env": [{"name": "X", "value": "1"}]}));
        merged_bundle(&config(), &[preset]).unwrap() != config()
    };
    assert!(by("role", "frontend"));
    assert!(by("io.kubernetes.pod.name", "shop-1"));
    assert!(by("io.kubernetes.container.name", "web"));
    assert!(!by("role", "backend"));
    let mut labelled = config();
    labelled["annotations"]["hshim.dev/labels"] = json!(r#"{"role": "backend"}"#);
    let backend = preset("p", json!({"selector": {"matchLabels": {"role": "backend"}}, "env": [{"name": "X", "value": "1"}]}));
    assert_ne!(merged_bundle(&labelled, &[backend]).unwrap(), labelled);
    labelled["annotations"]["hshim.dev/labels"] = json!("role=backend");
    let error = bundle::target("id", &labelled).unwrap_err().to_string();
    assert!(error.starts_with("annotations[\"hshim.dev/labels\"]: Invalid value: must be a JSON object of strings"), "{error}");
}

#[test]
fn health_that_a_bundle_asks_for_itself_stays_by_either_key() {
    for key in ["hshim.dev/livenessProbe", "web.hshim.dev/livenessProbe", "id.hshim.dev/livenessProbe"] {
        let mut config = config();
        config["annotations"][key] = json!(SLOW);
        let merged = merged_bundle(&config, &[preset("p", json!({"livenessProbe": probe(FAST)}))]).unwrap();
        assert_eq!(merged["annotations"][key], SLOW);
        let probes = merged["annotations"].as_object().unwrap().keys().filter(|key| key.ends_with("hshim.dev/livenessProbe"));
        assert_eq!(probes.count(), 1, "{key}");
    }
}

#[test]
fn a_bundle_can_have_volumes_of_the_host_only() {
    let presets = [allow_database()];
    let merge = merge(&bundle::target("id", &config()).unwrap(), &presets).unwrap();
    let unfit = bundle::additions(&merge, &presets, &sources(&presets)).unwrap_err();
    let text = "spec.volumes[0]: not supported by hshim: \"cache-volume\": a bundle can be given hostPath volumes only; name the pods of apply by the selector";
    assert_eq!(unfit.iter().map(|(fault, preset)| (fault.to_string(), *preset)).collect::<Vec<_>>(), [(text.to_owned(), 0)]);
}

#[test]
fn a_variable_or_mount_that_a_bundle_has_differently_is_a_conflict() {
    let env = preset("p", json!({"env": [{"name": "A", "value": "2"}]}));
    assert_eq!(merged_bundle(&config(), &[env]).unwrap_err()[0].other, Source::Pod("process.env[1]".into()));
    let mount =
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/srv"}}], "volumeMounts": [{"name": "v", "mountPath": "/proc"}]});
    assert_eq!(merged_bundle(&config(), &[preset("p", mount)]).unwrap_err()[0].other, Source::Pod("mounts[0]".into()));
}

fn any_preset() -> impl Strategy<Value = PodPreset> {
    let env = proptest::collection::btree_map("[A-D]", "[0-1]", 0..3);
    let mounts = proptest::collection::btree_map("[v-x]", "/[a-c]", 0..3);
    let health = proptest::option::of(prop_oneof![Just(FAST), Just(SLOW)]);
    ("[a-e]", env, mounts, health).prop_map(|(name, env, mounts, health)| {
        let volume = |name: &String| json!({"name": name, "hostPath": {"path": format!("/srv/{name}")}});
        let mut spec = json!({
            "env": env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
            "volumes": mounts.keys().map(volume).collect::<Vec<_>>(),
        });
        // One mount a path: a preset that contradicts itself cannot be read.
        let paths: BTreeMap<&String, &String> = mounts.iter().map(|(name, path)| (path, name)).collect();
        spec["volumeMounts"] = paths.iter().map(|(path, name)| json!({"name": name, "mountPath": path})).collect();
        spec["readinessProbe"] = health.map_or(Value::Null, probe);
        preset(&name, spec)
    })
}

/// What there is, whatever its order.
fn unordered(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(unordered).collect();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), unordered(value))).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

proptest! {
    #[test]
    fn merging_twice_changes_nothing(presets in proptest::collection::vec(any_preset(), 0..4)) {
        if let Ok(merge) = decided(&website(), &presets) {
            let once = pod::merged(&website(), &merge, &presets, &sources(&presets)).0;
            prop_assert_eq!(&merged(&once, &presets), &once);
        }
        if let Ok(once) = merged_bundle(&config(), &presets) {
            prop_assert_eq!(&merged_bundle(&once, &presets).unwrap(), &once);
        }
    }

    #[test]
    fn without_a_conflict_the_order_does_not_matter_and_with_one_no_order_helps(presets in proptest::collection::vec(any_preset(), 0..4)) {
        let reversed: Vec<PodPreset> = presets.iter().rev().cloned().collect();
        match (decided(&website(), &presets), decided(&website(), &reversed)) {
            (Ok(_), Ok(_)) => {
                prop_assert_eq!(unordered(&merged(&website(), &presets)), unordered(&merged(&website(), &reversed)));
            }
            (Err(_), Err(_)) => {}
            (one, other) => prop_assert!(false, "{one:?} and {other:?}"),
        }
    }

    #[test]
    fn what_a_pod_has_itself_is_never_changed(presets in proptest::collection::vec(any_preset(), 0..4)) {
        let mut pod = website();
        pod["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "0"}]);
        pod["spec"]["containers"][0]["readinessProbe"] = probe(SLOW);
        if let Ok(merge) = decided(&pod, &presets) {
            let container = pod::merged(&pod, &merge, &presets, &sources(&presets)).0["spec"]["containers"][0].clone();
            prop_assert_eq!(&container["env"][0], &pod["spec"]["containers"][0]["env"][0]);
            prop_assert_eq!(&container["readinessProbe"], &probe(SLOW));
        }
    }
}
