//! What configurations are refused, and how.

use super::*;

#[test]
fn a_network_contains_its_addresses_and_no_others() {
    let network = Network::parse("10.1.0.0/16").unwrap();
    assert!(network.contains("10.1.2.3".parse().unwrap()));
    assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
    assert!(!network.contains("10.2.0.1".parse().unwrap()));
    assert!(!network.contains("::1".parse().unwrap()));
    assert!(Network::parse("0.0.0.0/0").unwrap().contains("9.9.9.9".parse().unwrap()));
    assert!(Network::parse("fd00::/8").unwrap().contains("fd12::1".parse().unwrap()));
    assert!(Network::parse("10.0.0.1").unwrap().contains("10.0.0.1".parse().unwrap()));
}

#[test]
fn what_is_no_network_is_refused() {
    for text in ["", "10.0.0.0/33", "::/129", "ten", "10.0.0.0/x", "10.0.0/8"] {
        assert_eq!(Network::parse(text), None, "{text}");
    }
}

#[test]
fn an_address_is_a_host_and_port_or_an_absolute_path() {
    assert_eq!(parse_address("[::1]:6379"), Ok(Address::Tcp("[::1]:6379".to_owned())));
    assert_eq!(parse_address("unix:/run/x"), Ok(Address::Unix(PathBuf::from("/run/x"))));
    for text in ["6379", "host:", "host:70000", "unix:x", ":1"] {
        assert!(parse_address(text).unwrap_err().contains(text), "{text}");
    }
}

#[test]
fn a_configuration_that_cannot_be_names_its_key() {
    let listener = |name: &str, tls| Listener {
        name: name.to_owned(),
        address: parse_address(name).unwrap(),
        kind: Kind::Primary,
        tls,
        proxy_from: Vec::new(),
        fds: Vec::new(),
    };
    let mut config = Config::default();
    assert!(config.check().unwrap_err().contains("listeners"));
    config.listeners = vec![listener("h:1", true)];
    assert!(config.check().unwrap_err().contains("h:1"));
    config.listeners = vec![listener("h:1", false), listener("h:1", false)];
    assert!(config.check().unwrap_err().contains("twice"));
    config.listeners.pop();
    assert_eq!(config.check(), Ok(()));
    config.hold.client_bytes = 0;
    assert!(config.check().unwrap_err().contains("hold.client_bytes"));
}

#[test]
fn a_secret_is_not_printed() {
    let secret = Secret(Zeroizing::new("opensesame".to_owned()));
    assert!(!format!("{secret:?}").contains("opensesame"));
}
