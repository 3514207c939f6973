//! Several ports at once, and what ps tells of them.

use anyhow::Result;

use super::ports::answers;
use crate::chapter::Chapter::Network;
use crate::checks::check::Check;
use crate::see;
use crate::trial::kept::Kept;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "port-range",
        Network,
        "-p 8000-8002:80-82 publishes three ports, each as the one at the same place; as many on both sides.",
        range,
    ),
    Check::new(
        "port-ps",
        Network,
        "ps shows the ports of containers that run as 0.0.0.0:8080->80/tcp, and of others none.",
        ps,
    ),
];

/// A container that serves its port's own number at each of three.
pub(super) fn three<'a>(lab: &'a Lab, options: &[&str]) -> Result<Kept<'a>> {
    let script = "for n in 80 81 82; do mkdir /$n; echo port $n > /$n/index.html; httpd -p $n -h /$n; done; sleep 1000";
    lab.kept(["sh", "-c", script]).with(options).detach()
}

fn range(lab: &Lab) -> Result<()> {
    let serves = |one: &Kept<'_>, host: &str, inside: u16| {
        answers(one, &format!("127.0.0.1:{host}"), &format!("port {inside}\n"))
    };
    let one = three(lab, &["-p", "8000-8002:80-82"])?;
    for (host, inside) in [("8000", 80), ("8001", 81), ("8002", 82)] {
        serves(&one, host, inside)?;
    }
    one.remove()?;

    let one = three(lab, &["-p", "127.0.0.1::80-82"])?;
    let outcome = lab.call("port", [one.id()]).finish()?;
    outcome.succeeds()?;
    let lines = outcome.output();
    for inside in 80..=82 {
        let begins = format!("{inside}/tcp -> 127.0.0.1:");
        let Some(host) = lines.lines().find_map(|line| line.strip_prefix(&begins)) else {
            return Err(outcome.differs(format!("a line that begins {begins:?}")));
        };
        serves(&one, host, inside)?;
    }
    for bad in ["8000-8002:80-81", "8002-8000:82-80", "8000-8002-8004:80-84", "-8000:80", "0-2:80-82"] {
        lab.run(["true"]).with([format!("--publish={bad}")]).finish()?.refuses(&[125])?.mentions(bad)?;
    }
    Ok(())
}

fn ps(lab: &Lab) -> Result<()> {
    let one = lab.kept(["sleep", "1000"]).with(["-p", "127.0.0.1:8080:80", "-p", "8081:81"]).detach()?;
    let two = lab.kept(["true"]).with(["-p", "8082:82"]).detach()?;
    two.exits(0)?;
    let shown = "127.0.0.1:8080->80/tcp, 0.0.0.0:8081->81/tcp";
    for (container, expected) in [(&one, shown), (&two, "")] {
        let listed = container.listed()?.unwrap_or_default();
        let ports = listed["Ports"].as_str().unwrap_or("no text").to_string();
        // Without IPv6 the second port has one address.
        see::same(
            container.line(),
            "Ports in ps -a --format json",
            expected,
            &ports.replace(", [::]:8081->81/tcp", ""),
        )?;
    }
    let outcome = lab.call("ps", ["-a"]).finish()?;
    outcome.succeeds()?;
    let text = outcome.output();
    let at = text.find("PORTS").filter(|at| text[..*at].contains("STATUS"));
    let has_line = text
        .lines()
        .any(|line| at.is_some_and(|at| line.get(at..).is_some_and(|end| end.starts_with(shown))));
    if has_line { Ok(()) } else { Err(outcome.differs(format!("a column PORTS, and {shown:?} in it"))) }
}
