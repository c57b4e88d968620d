use proptest::prelude::*;

use super::*;

#[test]
fn memory_is_read_in_kubernetes_units() {
    for (written, bytes, shown) in [
        ("256Mi", 256 << 20, "256Mi"),
        ("1Gi", 1 << 30, "1Gi"),
        ("1.5Gi", 3 << 29, "1536Mi"),
        ("1024Mi", 1 << 30, "1Gi"),
        ("512M", 512_000_000, "500000Ki"),
        ("64k", 64_000, "64k"),
        ("1000", 1000, "1k"),
        ("7", 7, "7"),
    ] {
        let memory: Memory = written.parse().unwrap();
        assert_eq!(memory.bytes(), bytes, "{written}");
        assert_eq!(memory.to_string(), shown, "{written}");
    }
    for wrong in
        ["", "Mi", "-1Mi", "1e3", "512Mb", "2g", "1.0001", " 1Mi", "1 Mi", "0x10", "99999999999999999Ti"]
    {
        assert!(wrong.parse::<Memory>().is_err(), "{wrong}");
    }
}

#[test]
fn docker_units_are_answered_with_the_right_spelling() {
    let hint = "512Mb".parse::<Memory>().unwrap_err().hint();
    assert!(hint.starts_with("did you mean `512Mi`?"), "{hint}");
}

#[test]
fn cpu_is_read_in_cores_and_millicores() {
    for (written, millis, shown) in [
        ("500m", 500, "500m"),
        ("1", 1000, "1"),
        ("0.5", 500, "500m"),
        ("2.25", 2250, "2250m"),
        (".1", 100, "100m"),
    ] {
        let cpu: Cpu = written.parse().unwrap();
        assert_eq!((cpu.millis(), cpu.to_string().as_str()), (millis, shown), "{written}");
    }
    for wrong in ["", "m", ".", "0.5m", "0.0001", "-1", "one", "9999999999"] {
        assert!(wrong.parse::<Cpu>().is_err(), "{wrong}");
    }
}

#[test]
fn missing_fields_come_from_the_defaults() {
    let own = Resources {
        limits: Limits { memory: Some(Memory::from_mib(256)), ..Limits::default() },
        ..Resources::default()
    };
    let defaults = Resources {
        requests: Requests { cpu: Some(Cpu::from_millis(100)), memory: None },
        limits: Limits { memory: Some(Memory::from_mib(64)), cpu: None, pids: Some(8) },
    };
    let both = own.or(defaults);
    assert_eq!(both.limits.memory, Some(Memory::from_mib(256)));
    assert_eq!(both.limits.pids, Some(8));
    assert_eq!(both.requests.cpu, Some(Cpu::from_millis(100)));
}

proptest! {
    #[test]
    fn memory_shows_what_it_reads(bytes: u64) {
        let memory = Memory::from_bytes(bytes / 1000);
        prop_assert_eq!(memory.to_string().parse::<Memory>().unwrap(), memory);
    }

    #[test]
    fn cpu_shows_what_it_reads(millis: u32) {
        let cpu = Cpu::from_millis(millis);
        prop_assert_eq!(cpu.to_string().parse::<Cpu>().unwrap(), cpu);
    }
}
