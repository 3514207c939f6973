//! Chapter 9's network: what it adds to a container's start, and how much goes through it.

mod byhand;
mod iperf;
mod start;

use std::fmt::Write;

use anyhow::Result;

use crate::bench::contender::in_path;
use crate::bench::place::Place;
use crate::bench::programs::Programs;
use crate::bench::scale::Figure;
use crate::chapter::Chapter;
use crate::machine::network;

/// All of it, if chapter 9 is here. What cannot be measured is told in `missing`. All interfaces and rules are in
/// network namespaces that are made for this, and nothing leads out of them.
pub(crate) fn all(
    place: &Place,
    programs: &Programs,
    runs: usize,
    missing: &mut Vec<String>,
) -> Result<Vec<Figure>> {
    let Some(program) = programs.of(Chapter::Network) else {
        missing.push(format!("network: {} is not built", Chapter::Network.package()));
        return Ok(Vec::new());
    };
    network::in_one_alone(|| {
        let mut figures = vec![start::measured(place, program, runs, missing)?];
        match in_path("iperf3") {
            Some(iperf) => figures.extend(iperf::measured(place, program, &iperf, runs)?),
            None => missing.push("iperf3: not found in PATH".to_string()),
        }
        Ok(figures)
    })
}

/// For the page of the book.
pub(crate) fn page(figures: &[Figure]) -> String {
    let mut page = String::new();
    if figures.is_empty() {
        return page;
    }
    let _ = write!(
        page,
        "\n## The network\n\n\
         What a bridge adds to a run is the time with `--network bridge`, less the time with `--network none`.\n\
         The other rows say how much a client with iperf3 gets to a server in a container. Beside it is the same: a \
         bridge, cables and one rule, made by hand with `ip` and `nft`.\n\
         A packet takes the same way through the kernel in both, so they should be alike. What comes from the host \
         itself is copied by the process that keeps the container, and so it's slower.\n\
         Both take turns. Medians.\n\n\
         | | {} | beside | aim | |\n|---|---|---|---|---|\n",
        Chapter::Network.package()
    );
    for figure in figures {
        page.push_str(&figure.row());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_row_for_each_figure_and_no_section_without_any() {
        let figure = Figure {
            what: "what a bridge adds".to_string(),
            ours: "1.0 ms".to_string(),
            floors: String::new(),
            target: "at most 3 ms".to_string(),
            reached: Some(true),
        };
        let page = page(&[figure]);
        assert!(page.starts_with("\n## The network\n\n"), "{page}");
        assert!(page.ends_with("| what a bridge adds | 1.0 ms |  | at most 3 ms | reached |\n"), "{page}");
        assert_eq!(super::page(&[]), "");
    }
}
